"""dlt: merges JSON Lines into a table.

with_dlt.py URL DIRECTORY [last]: as its documentation shows it, which keeps any line of an id; or with a number for each line, by
which the last one of an id is kept, with two workers, and CSV for COPY
"""

import json
import os
import sys
import tempfile

os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"

import dlt
from dlt.sources.filesystem import filesystem, read_jsonl

url, directory = sys.argv[1:3]
keeps_last = sys.argv[3:] == ["last"]


def numbered_lines():
    files = (os.path.join(directory, name) for name in os.listdir(directory))
    number = 0
    for file in sorted(files, key=os.path.getmtime):
        page = []
        with open(file, encoding="utf-8") as lines:
            for line in lines:
                number += 1
                page.append({**json.loads(line), "number": number})
                if len(page) == 10_000:
                    yield page
                    page = []
        yield page


if keeps_last:
    os.environ["NORMALIZE__WORKERS"] = "2"
    os.environ["DATA_WRITER__FILE_MAX_ITEMS"] = "100000"
    resource = dlt.resource(numbered_lines, name="products", columns={"number": {"dedup_sort": "desc"}})
else:
    resource = (filesystem(f"file://{directory}", file_glob="*") | read_jsonl()).with_name("products")
resource.apply_hints(write_disposition="merge", primary_key="id")

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as state:
        pipeline = dlt.pipeline(
            "bench", pipelines_dir=state, destination=dlt.destinations.postgres(url), dataset_name="public"
        )
        pipeline.run(resource, loader_file_format="csv" if keeps_last else None)
