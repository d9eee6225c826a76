"""What an object store says when it fails, and the way out of it, for people."""

import os
import re

from deepfood.errors import system_error_text

ENVIRONMENT = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
#: What S3 says with its error codes, and the way out.
_SAID = {
    "NoSuchBucket": "there is no such bucket: check its name, or create it",
    "InvalidBucketName": "this is no valid name of a bucket: check it",
    "AccessDenied": "your credentials may not do that: ask for rights on the bucket, or use others",
    "AllAccessDisabled": "your credentials may not do that: ask whose bucket it is",
    "ExpiredToken": "your credentials have expired: get new ones (aws sso login, or new keys)",
    "TokenRefreshRequired": "your credentials have expired: get new ones",
    "InvalidToken": "the session token is not valid: get new credentials",
    "InvalidAccessKeyId": "nobody has this access key: check AWS_ACCESS_KEY_ID or the profile",
    "SignatureDoesNotMatch": "the secret key is not the access key's: check the credentials",
    "RequestTimeTooSkewed": "the clock of this machine is wrong: set it, by NTP, and try again",
    "SlowDown": "the server is overloaded, and stayed so: try again later",
    "ServiceUnavailable": "the server is unavailable, and stayed so: try again later",
    "InternalError": "the server failed, and went on failing: try again later",
    "PermanentRedirect": "the bucket is in another region: set s3_region",
    "AuthorizationHeaderMalformed": "the bucket is in another region: set s3_region",
    "IllegalLocationConstraintException": "the bucket is in another region: set s3_region",
}


def way_out(said: str, remote: bool) -> str:
    """What went wrong, for people, out of obstore's many lines."""
    if not remote:
        number = re.search(r"\(os error (\d+)\)", said)
        if number is None:
            return first_line(said)
        return system_error_text(OSError(int(number[1]), os.strerror(int(number[1]))))
    code = re.search(r"(?:<Code>|\(code: )(\w+)", said)
    if code:
        message = re.search(r"<Message>([^<]*)</Message>", said)
        return _SAID.get(code[1], f"S3 says {code[1]}: {message[1] if message else ''}")
    if "169.254.1" in said or "credential" in said.lower():
        return f"there are no credentials: {ENVIRONMENT}, or give this machine a role"
    status = re.search(r"status code: (\d+ [\w ]+)", said)
    if status:
        return f"the server answers {status[1].strip()}, and went on so: try again later"
    if "BadScheme" in said:
        return "plain http is used only for an endpoint that says http://: set s3_endpoint"
    if "invalid path" in said:
        return "an object's key has a control character, or an empty part: rename or delete it"
    if "TimedOut" in said or "timed out" in said:
        return "the server does not answer in time (s3_timeout_s, s3_retry_s): try again later"
    for word, why in (
        ("ConnectionRefused", "it refuses connections"),
        ("dns error", "its name is not known"),
        ("certificate", "its certificate is not trusted"),
    ):
        if word in said:
            return f"the S3 server cannot be reached, {why}: check s3_endpoint and the network"
    if "HTTP error" in said:
        return "the connection to the S3 server broke, again and again: try again later"
    return first_line(said)


def first_line(said: object) -> str:
    return str(said).split("\n", 1)[0]
