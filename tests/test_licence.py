"""Licences as model cards write them, and which of them must be agreed to."""

import pytest

from deepfood.model.licence import Licence


@pytest.mark.parametrize(
    "name",
    [
        *("cc-by-nc-4.0", "CC BY-NC-SA 4.0", "apple-amlr", "intel-research", "ms-research-nc"),
        *("Non-Commercial Model License", "noncommercial", "other"),
    ],
)
def test_must_be_agreed_to(name: str) -> None:
    assert Licence.named(name).why_ask


@pytest.mark.parametrize("name", ["mit", "Apache-2.0", "bsd-3-clause", "cc-by-4.0", "ncsa", ""])
def test_allows_what_deepfood_is_for(name: str) -> None:
    assert not Licence.named(name).why_ask


def test_terms_of_ones_own_must_be_agreed_to() -> None:
    assert Licence.named("mit", gated=True).why_ask == "it has terms of its own"
    own = Licence.named("dinov3-license", "https://example.com/terms")
    assert own.why_ask == "it has terms of its own"
    assert str(own) == "dinov3-license (https://example.com/terms)"


@pytest.mark.parametrize(
    ("card", "name"),
    [
        ("---\nlicense: mit\n---\n# X\n", "mit"),
        ("---\r\ntags:\r\n- a\r\nlicense: 'apache-2.0'\r\n---\r\n", "apache-2.0"),
        ("---\nlicense: other\nlicense_name: its-own\n---\n", "its-own"),
        ("---\nlicense: other\n---\n", "other"),
        ("---\ntags: [a]\n---\nlicense: mit\n", "unknown: see its source"),
        ("# X\nlicense: mit\n", "unknown: see its source"),
        ("---\nlicense: mit\n", "unknown: see its source"),
        ("", "unknown: see its source"),
    ],
)
def test_of_a_card(card: str, name: str) -> None:
    licence = Licence.of_card(card)
    assert licence.name == name
    assert licence.is_known == (not name.startswith("unknown"))
