"""What a service in Python does with the daemon, through grpcio and stubs made from
the protos by grpcio-tools. Prints what it got as one JSON object; the test judges.

Usage: client.py TARGET USER, with the key in ROSTER_KEY and the stubs on PYTHONPATH.
TARGET is HOST:PORT or unix:PATH; USER is somebody for it to add to the team.
"""

import json
import os
import sys

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from roster.v1 import (
    authorization_pb2 as checks,
    authorization_pb2_grpc as checking,
    member_pb2 as members,
    member_pb2_grpc as managing,
)

ORGANIZATION = "hypervisor-io-example"
target, user = sys.argv[1:]
key = [("authorization", "Bearer " + os.environ["ROSTER_KEY"])]


def question(who, action, project, **more):
    return checks.IsAuthorizedRequest(
        organization=ORGANIZATION,
        principal=checks.EntityRef(type="User", id=who),
        action=action,
        resource=checks.Resource(type="Instance", id="vm-1", project=project),
        **more,
    )


def decision(answer):
    return checks.Decision.Name(answer.decision)


def refused(call):
    """The code that a call fails with."""
    try:
        call()
    except grpc.RpcError as error:
        return error.code().name
    return "OK"


# Its C core would send the path of the socket as the host, which HTTP/2 does not allow.
options = [("grpc.default_authority", "localhost")] if target.startswith("unix:") else []
with grpc.insecure_channel(target, options=options) as channel:
    authorization = checking.AuthorizationServiceStub(channel)
    allowed = authorization.IsAuthorized(
        question("dev", "InstancesManage", "development"), metadata=key, timeout=60
    )
    denied = authorization.IsAuthorized(
        question("dev", "InstancesManage", "production", include_reasons=True),
        metadata=key,
        timeout=60,
    )
    added = managing.MemberServiceStub(channel).AddMember(
        members.AddMemberRequest(organization=ORGANIZATION, user=user, roles=["viewer"]),
        metadata=key,
        timeout=60,
    )
    managed = authorization.IsAuthorized(
        question(user, "InstancesView", "production", at_least=added.revision),
        metadata=key,
        timeout=60,
    )
    asked = [
        question("dev", "InstancesManage", project, correlation_id=project)
        for project in ("development", "production", "development")
    ]
    streamed = authorization.StreamIsAuthorized(iter(asked), metadata=key, timeout=60)
    found = {
        "allowed": decision(allowed),
        "denied": decision(denied),
        "reason": checks.ReasonCode.Name(denied.reasons[0].code),
        "managed": decision(managed),
        "stream": [[answer.correlation_id, decision(answer)] for answer in streamed],
        "wrong_key": refused(
            lambda: authorization.IsAuthorized(
                question("dev", "InstancesManage", "development"),
                metadata=[("authorization", "Bearer roster_operator_wrong")],
                timeout=60,
            )
        ),
        "no_key": refused(
            lambda: authorization.IsAuthorized(
                question("dev", "InstancesManage", "development"), timeout=60
            )
        ),
        # A revision that does not come while anybody waits for it.
        "deadline": refused(
            lambda: authorization.IsAuthorized(
                question("dev", "InstancesManage", "development", at_least="0.ffffffff"),
                metadata=key,
                timeout=0.5,
            )
        ),
        "health": health_pb2.HealthCheckResponse.ServingStatus.Name(
            health_pb2_grpc.HealthStub(channel)
            .Check(health_pb2.HealthCheckRequest(service="roster.v1.AuthorizationService"), timeout=60)
            .status
        ),
    }
print(json.dumps(found))
