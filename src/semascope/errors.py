"""Everything that Semascope raises on purpose.

    SemascopeError
    ├── InputError          what was asked for cannot be done as asked
    │   ├── ModelError      a language model that cannot be found, loaded or hooked
    │   ├── SiteError       a place in the model that does not exist
    │   ├── DataError       text that is missing, empty or of another format
    │   └── ConfigError     settings that contradict each other or the model
    ├── ArtifactError       something on disk cannot be used
    │   ├── DamagedError    truncated, half-written or not what its checksum says
    │   ├── FormatError     a file of another format
    │   └── MismatchError   sound, but made from another model, site or dictionary
    ├── ProcessError        another process of the same training ended or does not answer
    ├── NumericalError      zero, infinite or undefined activations, losses or weights
    └── UnavailableError    something outside is missing: network, disk space, an optional package

A message names the thing, what was given, what was expected, and what to do next. The command line prints it as
it is and exits with status 2; a traceback means a defect of Semascope.
"""


class SemascopeError(Exception):
    """Base class of every error that Semascope raises on purpose."""


class InputError(SemascopeError, ValueError):
    """What was asked for cannot be done as asked."""


class ModelError(InputError):
    """A language model that cannot be found, loaded or hooked."""


class SiteError(InputError):
    """A place in a language model that does not exist."""


class DataError(InputError):
    """Text that is missing, empty or of another format."""


class ConfigError(InputError):
    """Settings that contradict each other or the model."""


class ArtifactError(SemascopeError):
    """Something on disk cannot be used."""


class DamagedError(ArtifactError):
    """A file that is truncated, half-written or not what its checksum says."""


class FormatError(ArtifactError):
    """A file of another format than expected."""


class MismatchError(ArtifactError):
    """An artifact that is sound, but was made from another model, site or dictionary."""


class ProcessError(SemascopeError):
    """Another process of the same training ended, or does not answer."""


class NumericalError(SemascopeError):
    """Zero, infinite or undefined activations, losses or weights."""


class UnavailableError(SemascopeError):
    """Something outside Semascope is missing: network, disk space, an optional package."""
