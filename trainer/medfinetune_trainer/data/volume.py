"""A path in a manifest names something inside its volume, and nothing else on the machine."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from medfinetune_api.errors import InvalidData, InvalidModel


def inside(mount: Path, relative: str, where: str, refusal: type[InvalidData] | type[InvalidModel] = InvalidData) -> Path:
    """The file or folder that the manifest path `relative` names in the volume at `mount`, with every symbolic link followed.

    Args:
        mount: folder where this executor sees the volume.
        relative: path as the manifest has it, with `/` between its parts.
        where: the manifest field, for the message.
        refusal: class raised, InvalidData or InvalidModel.

    Raises:
        InvalidData, InvalidModel: the path is absolute, climbs with `..`, leaves the volume through a link, or names nothing.
    """
    path = PurePosixPath(relative)
    if path.is_absolute() or ".." in path.parts or "\0" in relative or not path.parts:
        found = "an absolute path" if path.is_absolute() else "a path with `..`" if ".." in path.parts else "a path that names no file"
        raise refusal(where, found=found, expected="a path within its volume", remedy="Write it relative to the volume's root, without `..`.")
    try:
        resolved = (mount / path).resolve(strict=True)
    except FileNotFoundError:
        raise refusal(
            where, found=f"no {relative!r} in the volume", expected="a path that exists", remedy="Check the spelling, and that the right volume is mounted."
        ) from None
    except (OSError, RuntimeError) as error:  # RuntimeError: a loop of links, before Python 3.13
        reason = getattr(error, "strerror", None) or "a loop of symbolic links"
        raise refusal(
            where, found=f"{relative!r}, which cannot be followed ({reason})", expected="a readable path", remedy="Mend the links or permissions on the volume."
        ) from None
    if not resolved.is_relative_to(mount.resolve()):
        raise refusal(
            where,
            found=f"{relative!r}, a symbolic link out of the volume",
            expected="a path within its volume",
            remedy="Copy what it points to into the volume.",
        )
    return resolved
