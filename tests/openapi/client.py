"""Reads examples/catalogue by the client that openapi-python-client generated, and compares typed results."""

import sys

from client import Client
from client.api.catalogue import get_catalogue, get_catalogue_origin, list_catalogue
from client.api.datasets import get_dataset, list_unknown_fields
from client.api.ingestion import list_objects, list_rejects
from client.models import CatalogueRecord, ObjectState, Problem

api = Client(base_url=sys.argv[1])

objects = list_objects.sync(client=api)
assert [object_.dataset for object_ in objects] == ["catalogue", "catalogue"], objects
assert all(object_.state is ObjectState.DONE for object_ in objects), objects
counts = [
    object_.inserted + object_.updated + object_.deleted + object_.unchanged + object_.superseded
    for object_ in objects
]
assert sorted(counts) == [40, 41], counts

[reject] = list_rejects.sync(client=api)
assert (reject.reason, reject.line) == ("out_of_range", 42), reject
assert reject.message == "price must be at least 0", reject

record = get_catalogue.sync(1031, client=api)
assert isinstance(record, CatalogueRecord), record
assert (record.id, record.title, record.price) == (1031, "Field guide 31", 519.29), record
assert record.additional_properties == {"stock": 4}, record
page = list_catalogue.sync(client=api, category="kitchen", limit=2)
assert [record.id for record in page] == [1001, 1007], page
assert isinstance(get_catalogue.sync(7, client=api), Problem)

assert get_catalogue_origin.sync(1031, client=api).line == 31
columns = {column.name: column.type_ for column in get_dataset.sync("catalogue", client=api).columns}
assert columns["id"] == "bigint", columns
[field] = list_unknown_fields.sync("catalogue", client=api)
assert (field.path, field.records, field.types) == ("/stock", 1, ["number"]), field
