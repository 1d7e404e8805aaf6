"""A stand-in for the Google provider, so that the real Terraform can validate, plan, test and apply without a network.

It speaks Terraform's plugin protocol 5 (https://github.com/hashicorp/terraform/tree/main/docs/plugin-protocol) over
go-plugin's gRPC, serves the types in provider_schema.json, and makes up the values that Google would compute, by the
templates in computed_values.json. All planned values are known and readable, so a plan shows every reference resolved;
applying echoes them. It contacts nobody and checks only what the schema says: ranges, formats and permissions are left
to the real provider.

Terraform starts it from the mirror that `terraform.py` writes; the first argument is `google` or `google-beta`.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Callable
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import msgpack
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

SCHEMA = Path(__file__).with_name("provider_schema.json")
PROJECT_NUMBER = "123456789012"
UNKNOWN = msgpack.ExtType(0, b"\0")

#: The part of the protocol that we use: `field:type=number`, `*` for repeated. Numbers are fixed, names are not.
MESSAGES = """
Value          msgpack:bytes=1 json:bytes=2
Attribute      name:string=1 type:bytes=2 required:bool=4 optional:bool=5 computed:bool=6 sensitive:bool=7
NestedBlock    type_name:string=1 block:Block=2 nesting:int64=3 min_items:int64=4 max_items:int64=5
Block          version:int64=1 attributes:*Attribute=2 block_types:*NestedBlock=3
Schema         version:int64=1 block:Block=2
NamedSchema    key:string=1 value:Schema=2
Capabilities   plan_destroy:bool=1 get_provider_schema_optional:bool=2
Schemas        provider:Schema=1 resources:*NamedSchema=2 data_sources:*NamedSchema=3 capabilities:Capabilities=6
Nothing
Config         config:Value=1
Configure      terraform_version:string=1 config:Value=2
RawState       json:bytes=1
Upgrade        type_name:string=1 version:int64=2 raw_state:RawState=3
Read           type_name:string=1 current_state:Value=2
ReadData       type_name:string=1 config:Value=2
Plan           type_name:string=1 prior_state:Value=2 proposed_new_state:Value=3 config:Value=4
Apply          type_name:string=1 prior_state:Value=2 planned_state:Value=3 config:Value=4
NewState       state:Value=1
"""
NESTING = {"single": 1, "list": 2, "set": 3, "map": 4}


def _messages() -> dict[str, Any]:
    """Build the message classes."""
    kinds = descriptor_pb2.FieldDescriptorProto
    plain = {"bytes": kinds.TYPE_BYTES, "string": kinds.TYPE_STRING, "bool": kinds.TYPE_BOOL, "int64": kinds.TYPE_INT64}
    file = descriptor_pb2.FileDescriptorProto(name="standin.proto", package="standin", syntax="proto3")
    for line in MESSAGES.split("\n"):
        name, *fields = line.split() or [""]
        if not name:
            continue
        message = file.message_type.add(name=name)
        for field in fields:
            field_name, rest = field.split(":")
            kind, number = rest.split("=")
            added = message.field.add(name=field_name, number=int(number))
            added.label = kinds.LABEL_REPEATED if kind.startswith("*") else kinds.LABEL_OPTIONAL
            kind = kind.lstrip("*")
            if kind in plain:
                added.type = plain[kind]
            else:
                added.type, added.type_name = kinds.TYPE_MESSAGE, f".standin.{kind}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        message.name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"standin.{message.name}"))
        for message in file.message_type
    }


M = _messages()


def pack(value: Any) -> Any:
    """Encode a Terraform value as a message."""
    return M["Value"](msgpack=msgpack.packb(value))


def unpack(value: Any) -> Any:
    """Decode the value in a message; an unknown value becomes UNKNOWN."""
    return msgpack.unpackb(value.msgpack, ext_hook=lambda code, data: UNKNOWN, strict_map_key=False)


# ----------------------------------------------------------------------------------------------------------- the schema


def schemas(provider: str) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Return the schemas of the provider, its resources and its data sources; google-beta includes google's types."""
    known = json.loads(SCHEMA.read_text())["provider_schemas"]
    resources: dict[str, Any] = {}
    data: dict[str, Any] = {}
    for name in ("google", "google-beta") if provider == "google-beta" else ("google",):
        part = known[f"registry.terraform.io/hashicorp/{name}"]
        resources |= part["resource_schemas"]
        data |= part["data_source_schemas"]
    return part["provider"], resources, data


def block_message(block: dict[str, Any]) -> Any:
    """Encode a block's schema as a message."""
    return M["Block"](
        attributes=[
            M["Attribute"](name=name, **{**attribute, "type": json.dumps(attribute["type"]).encode()})
            for name, attribute in sorted(block.get("attributes", {}).items())
        ],
        block_types=[
            M["NestedBlock"](
                type_name=name,
                block=block_message(nested["block"]),
                nesting=NESTING[nested["nesting_mode"]],
                min_items=nested.get("min_items", 0),
                max_items=nested.get("max_items", 0),
            )
            for name, nested in sorted(block.get("block_types", {}).items())
        ],
    )


def schema_message(schema: dict[str, Any]) -> Any:
    """Encode a schema as a message."""
    return M["Schema"](version=schema["version"], block=block_message(schema["block"]))


# ------------------------------------------------------------------------------------------------- what Google computes

#: Type -> attribute -> template for its value, filled with the resource's other values and the project's `number`.
COMPUTED = json.loads(Path(__file__).with_name("computed_values.json").read_text())
EMPTY: dict[str, Any] = {"string": "", "number": 1, "bool": False, "list": [], "set": [], "map": {}}


class StandInProvider:
    """Handlers of the protocol's requests, and the provider's configuration."""

    def __init__(self, provider: str) -> None:
        self.own, self.resources, self.data = schemas(provider)
        self.defaults: dict[str, Any] = {}

    def schema(self, request: Any) -> Any:
        """Return all schemas."""
        return M["Schemas"](
            provider=schema_message(self.own),
            resources=[M["NamedSchema"](key=k, value=schema_message(v)) for k, v in self.resources.items()],
            data_sources=[M["NamedSchema"](key=k, value=schema_message(v)) for k, v in self.data.items()],
            capabilities=M["Capabilities"](get_provider_schema_optional=True),
        )

    def configure(self, request: Any) -> Any:
        """Keep the provider's configuration."""
        self.defaults = unpack(request.config)
        return M["Nothing"]()

    def prepare(self, request: Any) -> Any:
        """Return the provider's configuration unchanged."""
        return M["NewState"](state=request.config)

    def upgrade(self, request: Any) -> Any:
        """Return a stored state unchanged."""
        return M["NewState"](state=M["Value"](json=request.raw_state.json))

    def read(self, request: Any) -> Any:
        """Return the current state: nothing changes behind Terraform's back."""
        return M["NewState"](state=request.current_state)

    def plan(self, request: Any) -> Any:
        """Return the proposed state with computed values filled in, or nothing for a resource to delete."""
        proposed = unpack(request.proposed_new_state)
        block = self.resources[request.type_name]["block"]
        return M["NewState"](state=pack(proposed and self.filled(request.type_name, block, proposed)))

    def apply(self, request: Any) -> Any:
        """Return the planned state."""
        planned = unpack(request.planned_state)
        block = self.resources[request.type_name]["block"]
        return M["NewState"](state=pack(planned and self.filled(request.type_name, block, planned)))

    def read_data(self, request: Any) -> Any:
        """Return a data source with computed values filled in."""
        block = self.data[request.type_name]["block"]
        return M["NewState"](state=pack(self.filled(f"data.{request.type_name}", block, unpack(request.config))))

    def filled(self, kind: str, block: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
        """Fill in every computed attribute; it stays unknown if a value that its template uses is unknown."""
        values = dict(values)
        computed = {name: a["type"] for name, a in block["attributes"].items() if a.get("computed")}
        first = ("project", "region", "location", "email", "name", "project_id", "id")
        for name in sorted(computed, key=lambda name: first.index(name) if name in first else len(first)):
            if values.get(name) is None or values[name] == UNKNOWN:
                values[name] = self.computed(kind, name, computed[name], values)
        for name, nested in block.get("block_types", {}).items():
            if isinstance(values.get(name), list):
                values[name] = [self.filled_block(f"{kind}.{name}", nested["block"], each) for each in values[name]]
        return values

    def filled_block(self, kind: str, block: dict[str, Any], values: Any) -> Any:
        """Fill in a nested block."""
        return self.filled(kind, {"attributes": {}, **block}, values) if isinstance(values, dict) else values

    def computed(self, kind: str, name: str, type_: Any, values: dict[str, Any]) -> Any:
        """Return one computed value."""
        if name in ("project", "region", "location") and self.defaults.get(name if name != "location" else "region"):
            return self.defaults[name if name != "location" else "region"]
        template = COMPUTED.get(kind, {}).get(name)
        if template is None:
            own = type_ if isinstance(type_, str) else type_[0]
            return f"{kind}/{_label(values)}/{name}" if own == "string" else EMPTY[own]
        known: dict[str, Any] = {"number": PROJECT_NUMBER, "service_name": str(values.get("service")).split(".")[0]}
        known |= {"project": self.defaults.get("project")}
        known |= {key: value for key, value in values.items() if value is not None}
        if any(known.get(part) == UNKNOWN for part in known if f"{{{part}}}" in template):
            return UNKNOWN
        return template.format(**known)


def _label(values: dict[str, Any]) -> str:
    """Return what distinguishes a resource from others of its type."""
    keys = ("name", "account_id", "display_name", "service", "role", "field", "repository_id")
    return next((str(values[key]) for key in keys if isinstance(values.get(key), str)), "one")


# ----------------------------------------------------------------------------------------------------------- the server


def serve(provider: str) -> None:
    """Answer requests until Terraform shuts this down."""
    handler = StandInProvider(provider)
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=8))
    nothing = M["Nothing"]
    answers: dict[str, tuple[Any, Callable[[Any], Any]]] = {
        "GetSchema": (nothing, handler.schema),
        "PrepareProviderConfig": (M["Config"], handler.prepare),
        "Configure": (M["Configure"], handler.configure),
        "ValidateResourceTypeConfig": (nothing, lambda request: nothing()),
        "ValidateDataSourceConfig": (nothing, lambda request: nothing()),
        "UpgradeResourceState": (M["Upgrade"], handler.upgrade),
        "ReadResource": (M["Read"], handler.read),
        "PlanResourceChange": (M["Plan"], handler.plan),
        "ApplyResourceChange": (M["Apply"], handler.apply),
        "ReadDataSource": (M["ReadData"], handler.read_data),
        "Stop": (nothing, lambda request: nothing()),
    }
    ended = {"Shutdown": (nothing, lambda request: (server.stop(grace=0.2), nothing())[1])}
    for service, methods in (("tfplugin5.Provider", answers), ("plugin.GRPCController", ended)):
        handlers = {
            name: grpc.unary_unary_rpc_method_handler(
                lambda request, context, answer=answer: answer(request),
                request_deserializer=kind.FromString,
                response_serializer=lambda message: message.SerializeToString(),
            )
            for name, (kind, answer) in methods.items()
        }
        server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(service, handlers)])
    with tempfile.TemporaryDirectory() as folder:
        socket = f"{folder}/plugin.sock"
        server.add_insecure_port(f"unix:{socket}")
        server.start()
        print(f"1|5|unix|{socket}|grpc", flush=True)
        server.wait_for_termination()


if __name__ == "__main__":
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    serve(sys.argv[1])
