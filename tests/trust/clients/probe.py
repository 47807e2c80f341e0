"""A health probe as the kubelet makes it: grpc.health.v1 Check without any key, over a
connection of its own, with its user agent and the name of a service.

Usage: probe.py HOST:PORT [SERVICE…]. Prints a JSON object with the answer for each name,
the empty one first. Exit code 0 if the first is SERVING, as a probe succeeds.
"""

import json
import sys

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

target, services = sys.argv[1], ["", *sys.argv[2:]]
agent = [("grpc.primary_user_agent", "kube-probe/1.35")]
found = {}
for service in services:
    with grpc.insecure_channel(target, options=agent) as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(
                health_pb2.HealthCheckRequest(service=service), timeout=60
            )
            status = health_pb2.HealthCheckResponse.ServingStatus
            found[service] = status.Name(answer.status)
        except grpc.RpcError as error:
            found[service] = error.code().name
print(json.dumps(found))
sys.exit(0 if found[""] == "SERVING" else 1)
