"""Secrets managers of a run, for every kind of entry: IBM's simulated by tests/upstream, AWS's by moto behind a proxy of faults."""

import json
import secrets

import boto3
from ibm_cloud_sdk_core.authenticators import IAMAuthenticator
from ibm_secrets_manager_sdk.secrets_manager_v2 import SecretsManagerV2

from .process import Aws, FaultyAws

REGION, ACCOUNT = "us-east-1", "123456789012"
# The instance whose CRNs the simulator gives out.
INSTANCE, IBM_REGION = "e415e570-f073-423a-abdc-55de9b58f54e", "us-south"


class Managers:
    """Both managers, and what an operator has to configure for them."""

    def __init__(self, sim, folder):
        self.ibm = sim.account(provider="secrets-manager")
        self.ibm_address = self.ibm.base_url.removesuffix("/v1")
        self.moto = Aws(folder)
        self.aws = FaultyAws(self.moto, folder)
        pair = {"access_key_id": "testing", "secret_access_key": secrets.token_urlsafe(30)}
        entries = [
            {"address": self.ibm_address, "kind": "ibm", "identity": "GATEWAY_TEST_IBM", "region": IBM_REGION,
             "instance": INSTANCE, "auth_url": f"{self.ibm_address}/identity/token"},
            {"address": self.aws.url, "kind": "aws", "identity": "GATEWAY_TEST_AWS", "region": REGION, "account": ACCOUNT},
        ]
        self.secrets = [self.ibm.key, pair["secret_access_key"]]
        self.env = {
            "SECRETS_MANAGERS": json.dumps(entries),
            "GATEWAY_TEST_IBM": self.ibm.key,
            "GATEWAY_TEST_AWS": json.dumps(pair),
        }

    def address(self, kind):
        return {"ibm": self.ibm_address, "aws": self.aws.url}[kind]

    def names(self, kind):
        """The names of all secrets that are there."""
        return set(self.values(kind))

    def values(self, kind):
        """All secrets by name, as the manager's own SDK reads them: each a text of JSON."""
        if kind == "ibm":
            client = ibm_client(self.ibm)
            listed = client.list_secrets(limit=1000).get_result()["secrets"]
            read = (client.get_secret(id=entry["id"]).get_result() for entry in listed)
            return {one["name"]: json.dumps(one["data"]) if "data" in one else one["payload"] for one in read}
        client = aws_client(self.moto)
        pages = client.get_paginator("list_secrets").paginate()
        names = [entry["Name"] for page in pages for entry in page["SecretList"] if "DeletedDate" not in entry]
        return {name: client.get_secret_value(SecretId=name)["SecretString"] for name in names}

    def of(self, kind, provider):
        """Name and value of the one secret of a provider."""
        found = [(name, value) for name, value in self.values(kind).items() if provider["uuid"] in name]
        assert len(found) == 1, found
        return found[0]

    def add(self, kind, name, value):
        """A secret of somebody else's; its CRN or ARN."""
        if kind == "ibm":
            prototype = {"secret_type": "arbitrary", "name": name, "payload": json.dumps(value)}
            return ibm_client(self.ibm).create_secret(secret_prototype=prototype).get_result()["crn"]
        return aws_client(self.moto).create_secret(Name=name, SecretString=json.dumps(value))["ARN"]

    def rotate(self, kind, name, value):
        """Another value, given by somebody outside."""
        if kind == "ibm":
            client = ibm_client(self.ibm)
            (entry,) = [one for one in client.list_secrets(search=name).get_result()["secrets"] if one["name"] == name]
            prototype = {"data": value} if entry["secret_type"] == "kv" else {"payload": json.dumps(value)}
            client.create_secret_version(secret_id=entry["id"], secret_version_prototype=prototype)
        else:
            aws_client(self.moto).put_secret_value(SecretId=name, SecretString=json.dumps(value))

    def forget(self, kind, name):
        """Deletes a secret behind the gateway's back."""
        if kind == "ibm":
            client = ibm_client(self.ibm)
            (entry,) = [one for one in client.list_secrets(search=name).get_result()["secrets"] if one["name"] == name]
            client.delete_secret(id=entry["id"])
        else:
            aws_client(self.moto).delete_secret(SecretId=name, RecoveryWindowInDays=7)

    def break_reads(self, kind, fault, times=None):
        """Makes the next reads fail: `denied`, `throttle`, `500`, or `hang`."""
        if kind == "aws":
            self.aws.rule(fault, "GetSecretValue", **({"times": times} if times else {}))
            return
        step = {"denied": {"status": 403}, "throttle": {"status": 429}, "500": {"status": 500}, "hang": {"hang": "headers"}}[fault]
        self.ibm.script(*[step] * (times or 1), repeat=times is None)

    def heal(self):
        self.aws.clear()
        self.ibm.configure(script=[], repeat=False)

    def reads(self, kind):
        """How often secrets were read since the last `forget_calls`."""
        if kind == "aws":
            return self.aws.calls("GetSecretValue")
        return len([c for c in self.ibm.calls()[self.seen :] if c["method"] == "GET" and "/api/v2/secrets/" in c["path"]])

    seen = 0

    def forget_calls(self):
        self.aws.clear()
        self.seen = len(self.ibm.calls())

    def stop(self):
        self.aws.stop()
        self.moto.stop()


def ibm_client(account):
    """IBM's own SDK, led to the simulator."""
    address = account.base_url.removesuffix("/v1")
    account.configure(lenient_headers=True)
    client = SecretsManagerV2(authenticator=IAMAuthenticator(account.key, url=address))
    client.set_service_url(address)
    return client


def aws_client(aws):
    return boto3.client(
        "secretsmanager",
        endpoint_url=aws.url,
        region_name=REGION,
        aws_access_key_id="testing",
        aws_secret_access_key="testing",
    )
