"""An admission webhook of the test's own, which the API server asks about objects of one kind in one namespace."""

import http.server
import json
import ssl
import threading
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from control_plane import ControlPlane
from lightkube.core.resource import NamespacedResource
from lightkube.models.admissionregistration_v1 import RuleWithOperations, ValidatingWebhook, WebhookClientConfig
from lightkube.models.meta_v1 import LabelSelector, ObjectMeta
from lightkube.resources.admissionregistration_v1 import ValidatingWebhookConfiguration
from programs import until

SECONDS = 30
"""How long the API server waits for an answer, which is as long as Kubernetes allows."""


@contextmanager
def webhook(
    plane: ControlPlane, namespace: str, sample: NamespacedResource, judge: Callable[[], str]
) -> Iterator[None]:
    """While the block runs, `judge()` decides on each object of the sample's kind: "" admits it, else it says why not.

    It runs in a thread of its own, and may take its time. When the block begins, the API server knows of it: it was
    asked about a dry run, of which no judge hears.
    """
    known = threading.Event()

    class Door(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            known.set()
            why_not = "" if review["request"]["dryRun"] else judge()
            answer = {"uid": review["request"]["uid"], "allowed": not why_not, "status": {"message": why_not}}
            body = json.dumps({"apiVersion": review["apiVersion"], "kind": review["kind"], "response": answer})
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None:
            pass

    pair = plane.authority.issue(f"webhook-{namespace}", "webhook", names=(plane.address,))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pair.certificate, pair.key)
    with http.server.ThreadingHTTPServer((plane.address, 0), Door) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            with _registered(plane, namespace, sample, server.server_address[1]):
                until(lambda: _tried(plane, namespace, sample, known), SECONDS, "the webhook to be asked")
                yield
        finally:
            server.shutdown()
            thread.join()


def _tried(plane: ControlPlane, namespace: str, sample: NamespacedResource, known: threading.Event) -> bool:
    plane.client.create(sample, namespace=namespace, dry_run=True)
    return known.is_set()


@contextmanager
def _registered(plane: ControlPlane, namespace: str, sample: NamespacedResource, port: int) -> Iterator[None]:
    info = sample._api_info
    group, plural = info.resource.group, info.plural
    authority = b64encode(plane.authority.certificate.read_bytes()).decode()
    rule = RuleWithOperations(apiGroups=[group], apiVersions=["v1"], operations=["CREATE"], resources=[plural])
    asked = ValidatingWebhook(
        name="rules.example.com",
        admissionReviewVersions=["v1"],
        sideEffects="None",
        timeoutSeconds=SECONDS,
        failurePolicy="Fail",
        namespaceSelector=LabelSelector(matchLabels={"kubernetes.io/metadata.name": namespace}),
        rules=[rule],
        clientConfig=WebhookClientConfig(url=f"https://{plane.address}:{port}/", caBundle=authority),
    )
    made = ValidatingWebhookConfiguration(metadata=ObjectMeta(name=namespace), webhooks=[asked])
    plane.client.create(made)
    try:
        yield
    finally:
        plane.client.delete(ValidatingWebhookConfiguration, namespace)
