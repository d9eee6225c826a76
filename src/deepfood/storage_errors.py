"""Explain the errors of object stores, with a way out."""

import os
import re

from deepfood.errors import system_error_text

ENVIRONMENT = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
#: Explanations of S3's error codes.
_EXPLANATIONS = {
    "NoSuchBucket": "there is no such bucket: check its name, or create it",
    "InvalidBucketName": "the bucket's name is not valid: check it",
    "AccessDenied": "your credentials may not do that: ask for rights on the bucket, or use others",
    "AllAccessDisabled": "your credentials may not do that: ask whose bucket it is",
    "ExpiredToken": "your credentials have expired: get new ones (aws sso login, or new keys)",
    "TokenRefreshRequired": "your credentials have expired: get new ones",
    "InvalidToken": "the session token is not valid: get new credentials",
    "InvalidAccessKeyId": "this access key does not exist: check AWS_ACCESS_KEY_ID or the profile",
    "SignatureDoesNotMatch": "the secret key is not the access key's: check the credentials",
    "RequestTimeTooSkewed": "the clock of this machine is wrong: set it, by NTP, and try again",
    "SlowDown": "the server is overloaded, and stayed so: try again later",
    "ServiceUnavailable": "the server is unavailable, and stayed so: try again later",
    "InternalError": "the server failed, and went on failing: try again later",
    "PermanentRedirect": "the bucket is in another region: set s3_region",
    "AuthorizationHeaderMalformed": "the bucket is in another region: set s3_region",
    "IllegalLocationConstraintException": "the bucket is in another region: set s3_region",
}


def way_out(text: str, remote: bool) -> str:
    """Explain an error of obstore in one line."""
    if not remote:
        number = re.search(r"\(os error (\d+)\)", text)
        if number is None:
            return first_line(text)
        return system_error_text(OSError(int(number[1]), os.strerror(int(number[1]))))
    code = re.search(r"(?:<Code>|\(code: )(\w+)", text)
    if code:
        message = re.search(r"<Message>([^<]*)</Message>", text)
        return _EXPLANATIONS.get(code[1], f"S3 answers {code[1]}: {message[1] if message else ''}")
    if "169.254.1" in text or "credential" in text.lower():
        return f"there are no credentials: {ENVIRONMENT}, or give this machine a role"
    status = re.search(r"status code: (\d+ [\w ]+)", text)
    if status:
        return f"the server answers {status[1].strip()}, and went on so: try again later"
    if "BadScheme" in text:
        return "plain http is used only for an endpoint that says http://: set s3_endpoint"
    if "invalid path" in text:
        return "an object's key has a control character or an odd part (//, . or ..): rename it"
    if "TimedOut" in text or "timed out" in text:
        return "the server does not answer in time (s3_timeout_s, s3_retry_s): try again later"
    for word, why in (
        ("ConnectionRefused", "it refuses connections"),
        ("dns error", "its name is not known"),
        ("certificate", "its certificate is not trusted"),
    ):
        if word in text:
            return f"the S3 server cannot be reached, {why}: check s3_endpoint and the network"
    if "HTTP error" in text:
        return "the connection to the S3 server broke, again and again: try again later"
    return first_line(text)


def first_line(text: object) -> str:
    return str(text).split("\n", 1)[0]
