"""Holds Kubernetes objects against the published schemas of their kinds, strictly: a field that a schema does not know
is an error. Takes the Kubernetes releases whose schemas must all accept the objects, separated by commas, and files of
YAML.

Prints, as JSON, a pair for each file: its objects, and what is wrong with them.
"""

import functools
import importlib.resources
import json
import sys

import jsonschema
import referencing
import yaml
from cloudcoil.models.keda.v1alpha1 import ScaledObject

KUBERNETES = importlib.resources.files("kubernetes_validate") / "kubernetes-json-schema"


def main(releases, files):
    json.dump([checked(file, releases.split(",")) for file in files], sys.stdout)


def checked(file, releases):
    with open(file, "rb") as text:
        objects = [each for each in yaml.load_all(text, yaml.SafeLoader) if each is not None]
    return objects, [f"{title(each)}: {problem}" for each in objects for problem in problems(each, releases)]


def title(document):
    return f"{document.get('kind')} {document.get('metadata', {}).get('name')}"


def problems(document, releases):
    kind = document.get("apiVersion", ""), document.get("kind", "")
    if kind == ("keda.sh/v1alpha1", "ScaledObject"):
        yield from errors(keda(), document)
        return
    for release in releases:
        try:
            schema = kubernetes(release, *kind)
        except FileNotFoundError:
            yield f"Kubernetes {release} has no {' '.join(kind)}"
            continue
        for error in errors(schema, document):
            yield f"{error} (Kubernetes {release})"


def errors(validator, document):
    for error in validator.iter_errors(document):
        yield f"{'.'.join(map(str, error.absolute_path))}: {error.message}"


@functools.cache
def kubernetes(release, version, kind):
    """The schema of a kind; that of networking.k8s.io/v1 NetworkPolicy is called networkpolicy-networking-v1."""
    group, _, version = version.rpartition("/")
    name = "-".join(part for part in (kind.lower(), group.split(".")[0], version) if part)
    schema = json.loads((folder(release) / f"{name}.json").read_bytes())
    return jsonschema.Draft202012Validator(schema, registry=definitions(release))


@functools.cache
def definitions(release):
    """What the schemas of a release refer to."""
    contents = json.loads((folder(release) / "_definitions.json").read_bytes())
    return referencing.Resource.from_contents(contents) @ referencing.Registry()


def folder(release):
    return KUBERNETES / f"v{release}.0-local-strict"


@functools.cache
def keda():
    """The schema of KEDA's ScaledObject, made of the model that was made of its definition."""
    return jsonschema.Draft202012Validator(strict(ScaledObject.model_json_schema(by_alias=True)))


def strict(schema):
    """The schema, in which no object has fields that are not named, and nothing is null.

    The models allow null wherever a field may be missing. It would only blur what is reported, and nobody writes it.
    """
    if isinstance(schema, list):
        return [strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    schema = {key: strict(value) for key, value in schema.items()}
    alternatives = [each for each in schema.get("anyOf", []) if each != {"type": "null"}]
    if len(alternatives) == 1:
        schema = {**schema, **alternatives[0]}
        del schema["anyOf"]
    if "properties" in schema:
        schema.setdefault("additionalProperties", False)
    return schema


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
