"""Types that openapi-typescript makes from the OpenAPI document, used against a running service."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest

from live import SmallGallery

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not there"),
]

PACKAGES = ("openapi-typescript@^7.9", "typescript@^5.9")
#: Compiled strictly, then run. What must not be sent is an error of the compiler.
PROGRAM = """
import type { components, paths } from "./schema";

declare const process: { argv: string[] };
type Schemas = components["schemas"];
type Search = paths["/api/v1/search"]["post"];
type Asked = Search["requestBody"]["content"]["application/json"];
type Found = Search["responses"]["200"]["content"]["application/json"];
const server = process.argv[2]!;

async function answer<T>(path: string, init?: RequestInit): Promise<T> {
  return (await (await fetch(server + path, init)).json()) as T;
}

async function main() {
  type Listing = NonNullable<paths["/api/v1/photos"]["get"]["parameters"]["query"]>;
  const query: Listing = { words: "curry", sort: "name", limit: 3 };
  const texts = Object.entries(query).map(([name, value]) => [name, String(value)]);
  const said = new URLSearchParams(texts);
  const page = await answer<Schemas["PhotoPage"]>(`/api/v1/photos?${said}`);
  const asked: Asked = { id: page.photos[0]!.id, k: 2, where: 'label = "Soups"' };
  // @ts-expect-error: no field is called so
  const wrong: Asked = { photograph: "x" };
  const headers = { "Content-Type": "application/json" };
  const post = (body: Asked) => ({ method: "POST", headers, body: JSON.stringify(body) });
  const found = await answer<Found>("/api/v1/search", post(asked));
  const problem = await answer<Schemas["Problem"]>("/api/v1/search", post(wrong));
  const facets = await answer<Schemas["Facets"]>("/api/v1/facets");
  const codes: string[] = found.notes.map((note) => note.code);
  const label: string | null = found.hits[0]!.label;
  const counts = [page.total, found.total, facets.total];
  console.log(JSON.stringify([counts, label, codes, problem.status]));
}

main();
"""


def run(folder: Path, *command: str) -> str:
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_program_in_typescript_finds_lists_and_counts(
    server_url: str, small_gallery: SmallGallery, tmp_path: Path
) -> None:
    got = subprocess.run(
        ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", *PACKAGES],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    if got.returncode:
        pytest.skip(f"npm has no {' and '.join(PACKAGES)}: {got.stderr[-300:]}")
    (tmp_path / "openapi.json").write_bytes(httpx.get(f"{server_url}/openapi.json").content)
    (tmp_path / "use.ts").write_text(PROGRAM)
    run(tmp_path, "npx", "openapi-typescript", "openapi.json", "-o", "schema.d.ts")
    strict = (
        "--strict",
        "--noUncheckedIndexedAccess",
        "--target",
        "es2022",
        "--module",
        "commonjs",
    )
    run(tmp_path, "npx", "tsc", *strict, "--lib", "es2022,dom,dom.iterable", "use.ts")
    printed: list[Any] = json.loads(run(tmp_path, "node", "use.js", server_url))
    assert printed == [[15, 2, len(small_gallery.photos)], "Soups", [], 422]
