//! Secret records.

use bytes::Bytes;
use gateway_core::ports::Store;

use crate::check::{done, same};
use crate::swaps::head;
use crate::{fresh_tenant, key_hash};

pub(crate) async fn all<S: Store>(store: &S) {
    a_secret_is_written_read_and_removed(store).await;
    secrets_of_others_are_not_seen(store).await;
    each_kind_of_record_stands_alone(store).await;
}

async fn a_secret_is_written_read_and_removed<S: Store>(store: &S) {
    let tenant = fresh_tenant();
    let long = "i".repeat(128);
    for id in ["id", "0f8e1c1a-91a5-4c5d-9b3c-6b3a7a3f0001", &long] {
        same(done(store.secret(tenant, id).await, "secret"), None, "an unknown secret");
        done(store.delete_secret(tenant, id).await, "deleting an unknown secret");
        for record in [Bytes::from_static(b"\x00\xff"), Bytes::from_static(b"two")] {
            done(store.put_secret(tenant, id, record.clone()).await, "put secret");
            same(done(store.secret(tenant, id).await, "secret"), Some(record), "a secret just written");
        }
    }
    let mut listed = done(store.secrets(tenant).await, "secrets");
    listed.sort();
    let two = Bytes::from_static(b"two");
    let mut wanted = ["id", "0f8e1c1a-91a5-4c5d-9b3c-6b3a7a3f0001", &long].map(|id| (id.to_owned(), two.clone()));
    wanted.sort();
    same(listed, wanted.to_vec(), "the secrets listed");
    done(store.delete_secret(tenant, "id").await, "delete secret");
    same(done(store.secret(tenant, "id").await, "secret"), None, "a deleted secret");
    same(done(store.secrets(tenant).await, "secrets").len(), 2, "secrets left");
}

async fn secrets_of_others_are_not_seen<S: Store>(store: &S) {
    let (a, b) = (fresh_tenant(), fresh_tenant());
    done(store.put_secret(a, "id", "a".into()).await, "put secret");
    same(done(store.secret(b, "id").await, "secret"), None, "another tenant's secret");
    done(store.delete_secret(b, "id").await, "deleting another tenant's secret");
    same(done(store.secrets(b).await, "secrets"), Vec::new(), "another tenant's secrets");
    same(done(store.secret(a, "id").await, "secret"), Some("a".into()), "own secret");
}

async fn each_kind_of_record_stands_alone<S: Store>(store: &S) {
    let tenant = fresh_tenant();
    let hash = key_hash(tenant, 1);
    done(store.put_secret(tenant, &hash.to_string(), "secret".into()).await, "put secret");
    done(store.put_key(tenant, hash, "key".into()).await, "put key");
    done(store.swap(tenant, None, Some(head(1, "head"))).await, "swap");
    same(done(store.keys(tenant).await, "keys"), vec![(hash, "key".into())], "keys beside secrets");
    same(
        done(store.secrets(tenant).await, "secrets"),
        vec![(hash.to_string(), "secret".into())],
        "secrets beside keys",
    );
    done(store.swap(tenant, Some(1), None).await, "deleting the head");
    same(done(store.keys(tenant).await, "keys").len(), 1, "keys outlive the head");
    same(done(store.secrets(tenant).await, "secrets").len(), 1, "secrets outlive the head");
}
