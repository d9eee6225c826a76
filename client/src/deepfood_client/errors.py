"""The errors that a client of a server can meet; deepfood itself raises them too, and more.

DeepfoodError
├── DatasetError
│   └── UndeclaredError          no attribute of that name has been declared
├── PhotoError                   bytes that do not become a picture
│   ├── PhotoUnsupportedError    not an image, or a format deepfood does not read
│   └── PhotoTooLargeError       more bytes or pixels than the limits allow
├── QueryError                   a search that cannot be answered as asked
│   ├── PhotoNotFoundError       no photo with that id (or its file is gone or changed)
│   └── PhotoExistsError         the gallery has the photo, and only a new one was to be added
└── ServiceError                 no answer from a server, or none that can be used
    ├── ServiceBusyError         the server asks to come back later, and did after each retry
    └── KeyRefusedError          a change was asked for without a key, or with a wrong one
"""


class DeepfoodError(Exception):
    """Base class; `str(error)` is one line that names the value at fault and the way out."""


class DatasetError(DeepfoodError):
    pass


class UndeclaredError(DatasetError):
    pass


class PhotoError(DeepfoodError):
    pass


class PhotoUnsupportedError(PhotoError):
    pass


class PhotoTooLargeError(PhotoError):
    pass


class QueryError(DeepfoodError):
    """`field` is the part of the question at fault, where that is one, by its name in the API."""

    def __init__(self, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class PhotoNotFoundError(QueryError):
    pass


class PhotoExistsError(QueryError):
    pass


class ServiceError(DeepfoodError):
    pass


class ServiceBusyError(ServiceError):
    pass


class KeyRefusedError(ServiceError):
    pass
