"""IBM's SDK of Secrets Manager against the simulator."""

import pytest
from ibm_cloud_sdk_core import ApiException
from ibm_cloud_sdk_core.authenticators import BearerTokenAuthenticator, IAMAuthenticator
from ibm_secrets_manager_sdk import secrets_manager_v2 as v2


@pytest.fixture
def account(sim):
    return sim.account(provider="secrets-manager", lenient_headers=True)


@pytest.fixture
def client(account):
    address = account.base_url.removesuffix("/v1")
    client = v2.SecretsManagerV2(authenticator=IAMAuthenticator(account.key, url=address))
    client.set_service_url(address)
    return client


def make(client, name="one", **members):
    prototype = {"secret_type": "kv", "name": name, "data": {"apikey": "k"}, **members}
    return client.create_secret(secret_prototype=prototype)


def test_the_life_of_a_key_value_secret(client):
    made = make(client, secret_group_id="default")
    assert made.get_status_code() == 201
    secret = v2.KVSecret.from_dict(made.get_result())
    assert (secret.name, secret.data, secret.secret_group_id, secret.versions_total) == ("one", {"apikey": "k"}, "default", 1)
    assert secret.crn.startswith("crn:v1:bluemix:public:secrets-manager:us-south:a/") and secret.crn.endswith(f":secret:{secret.id}")
    read = v2.KVSecret.from_dict(client.get_secret(id=secret.id).get_result())
    assert read.data == {"apikey": "k"}
    metadata = client.get_secret_metadata(id=secret.id).get_result()
    assert "data" not in metadata and v2.KVSecretMetadata.from_dict(metadata).name == "one"

    version = client.create_secret_version(secret_id=secret.id, secret_version_prototype={"data": {"apikey": "second"}})
    assert version.get_status_code() == 201
    assert v2.KVSecretVersion.from_dict(version.get_result()).data == {"apikey": "second"}
    read = client.get_secret(id=secret.id).get_result()
    assert (read["data"], read["versions_total"]) == ({"apikey": "second"}, 2)

    assert client.delete_secret(id=secret.id).get_status_code() == 204
    for call in (client.get_secret, client.delete_secret, client.get_secret_metadata):
        with pytest.raises(ApiException) as raised:
            call(id=secret.id)
        assert raised.value.status_code == 404


def test_an_arbitrary_secret(client):
    prototype = v2.ArbitrarySecretPrototype(secret_type="arbitrary", name="text", payload="some text")
    secret = v2.ArbitrarySecret.from_dict(client.create_secret(secret_prototype=prototype).get_result())
    assert (secret.payload, secret.secret_type) == ("some text", "arbitrary")


def test_lists_are_searched_and_paged(client):
    for number in range(5):
        make(client, f"name-{number}")
    make(client, "other", secret_group_id="67d025e1-0248-418f-83ba-deb0ebfb9b4a")
    page = v2.SecretMetadataPaginatedCollection.from_dict(client.list_secrets(limit=2, search="name-").get_result())
    assert (page.total_count, [s.name for s in page.secrets], page.next is not None) == (5, ["name-0", "name-1"], True)
    pager = v2.SecretsPager(client=client, limit=2, search="name-")
    assert [one["name"] for one in pager.get_all()] == [f"name-{number}" for number in range(5)]
    assert [s["name"] for s in client.list_secrets(groups=["67d025e1-0248-418f-83ba-deb0ebfb9b4a"]).get_result()["secrets"]] == ["other"]
    assert all("data" not in s for s in client.list_secrets().get_result()["secrets"])


@pytest.mark.parametrize(
    ("members", "status"),
    [
        ({"name": "x"}, 400),
        ({"name": "a/b"}, 400),
        ({"name": "-ab"}, 400),
        ({"name": "ab-"}, 400),
        ({"name": "a" * 257}, 400),
        ({"data": {}}, 400),
        ({"data": "text"}, 400),
        ({"secret_type": "password"}, 400),
        ({"payload": "x"}, 400),
    ],
)
def test_what_is_not_of_its_form_is_refused(client, members, status):
    with pytest.raises(ApiException) as raised:
        make(client, **members)
    assert raised.value.status_code == status


def test_a_name_is_there_once_in_its_group_and_type(client):
    make(client)
    with pytest.raises(ApiException) as raised:
        make(client)
    assert raised.value.status_code == 409
    make(client, secret_group_id="67d025e1-0248-418f-83ba-deb0ebfb9b4a")
    client.create_secret(secret_prototype={"secret_type": "arbitrary", "name": "one", "payload": "text"})


def test_tokens_are_those_of_the_identity_service(account, client):
    stranger = v2.SecretsManagerV2(authenticator=BearerTokenAuthenticator("made-up"))
    stranger.set_service_url(account.base_url.removesuffix("/v1"))
    with pytest.raises(ApiException) as raised:
        stranger.list_secrets()
    assert raised.value.status_code == 401
    account.configure(token_seconds=1)
    make(client)
    account.script({"status": 403}, {"status": 429}, {"status": 500})
    for status in (403, 429, 500):
        with pytest.raises(ApiException) as raised:
            client.list_secrets()
        assert raised.value.status_code == status
