//! Policies of a tenant: who may use or change what. By default everything may be; policies narrow it.

use serde_json::{Map, Value};

use super::record::{Members, record};
use crate::limits;

/// What somebody wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// To call a model, or to look at something.
    Read,
    /// To change something.
    Write,
}

/// What a policy says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Its subjects may, and those that no policy allows may not.
    Allow,
    /// Its subjects may not.
    Deny,
}

/// Something that policies are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource<'a> {
    /// An enabled model, by its UUID; empty for one that is to be made.
    Model(&'a str),
    /// A provider, by its UUID; empty for one that is to be made.
    Provider(&'a str),
    /// A load balancer, by its UUID; empty for one that is to be made.
    LoadBalancer(&'a str),
    /// The tenant's own settings, keys, limits and usage.
    Tenant,
    /// Its policies.
    Policies,
}

/// A policy, as a record in the head. Never changed, only made and removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Its id, a UUID.
    pub uuid: String,
    /// What it is about doing.
    pub action: Action,
    /// Whether that may be done.
    pub effect: Effect,
    /// To what: as written, see [`Self::knows_resource`].
    pub resource: String,
    /// Whose: `key:<id>`, `*`, or a name that stands for nobody here.
    pub subject: String,
    /// When it was made, in seconds since the epoch.
    pub created: u64,
    /// Unknown members, kept.
    pub rest: Map<String, Value>,
}

impl Action {
    /// In the API and in records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
        }
    }

    /// By its name.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Read, Self::Write].into_iter().find(|action| action.as_str() == text)
    }
}

impl Effect {
    /// In the API and in records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        }
    }

    /// By its name.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Allow, Self::Deny].into_iter().find(|effect| effect.as_str() == text)
    }
}

impl Resource<'_> {
    fn parts(&self) -> (&'static str, &str) {
        match self {
            Self::Model(id) => (MODEL, id),
            Self::Provider(id) => (PROVIDER, id),
            Self::LoadBalancer(id) => (BALANCER, id),
            Self::Tenant => (TENANT, ""),
            Self::Policies => (POLICIES, ""),
        }
    }
}

impl Policy {
    pub(super) fn read(value: Value) -> Option<Self> {
        let mut members = Members::of(value)?;
        Some(Self {
            uuid: members.text("uuid")?,
            // Nobody may go round a policy because this version does not know what it says.
            action: Action::parse(&members.text("action")?)?,
            effect: Effect::parse(&members.text("effect")?)?,
            resource: members.text("resource").filter(|text| Self::knows_resource(text))?,
            subject: members.text("subject")?,
            created: members.number("created_at")?,
            rest: members.rest(),
        })
    }

    /// The record, which is also the answer.
    pub(crate) fn to_value(&self) -> Value {
        let known = [
            ("uuid", self.uuid.as_str().into()),
            ("action", self.action.as_str().into()),
            ("effect", self.effect.as_str().into()),
            ("resource", self.resource.as_str().into()),
            ("subject", self.subject.as_str().into()),
            ("created_at", self.created.into()),
        ];
        record(known, &self.rest)
    }

    /// Whether a text names a resource: `model:<uuid>`, `provider:<uuid>`, `load-balancer:<uuid>`, each also with `*`;
    /// `tenant`, `policies`, `*`.
    pub fn knows_resource(text: &str) -> bool {
        let id = |id: &str| {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
            id == ANY || (!id.is_empty() && id.len() <= limits::NAME_CHARS && id.bytes().all(plain))
        };
        match text.split_once(':') {
            Some((kind, given)) => [MODEL, PROVIDER, BALANCER].contains(&kind) && id(given),
            None => [TENANT, POLICIES, ANY].contains(&text),
        }
    }

    /// Whether a text can name a subject: visible ASCII.
    pub fn knows_subject(text: &str) -> bool {
        (1..=limits::SUBJECT_BYTES).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
    }

    /// The same but for its id and age.
    pub fn same(&self, other: &Self) -> bool {
        let words = |policy: &Self| (policy.action, policy.effect, policy.resource.clone(), policy.subject.clone());
        words(self) == words(other)
    }

    /// Whether it is about exactly this one of several.
    pub(super) fn names(&self, resource: Resource<'_>) -> bool {
        let (kind, id) = resource.parts();
        self.resource.strip_prefix(kind).and_then(|rest| rest.strip_prefix(':')) == Some(id)
    }

    fn covers(&self, resource: Resource<'_>) -> bool {
        let (kind, id) = resource.parts();
        match self.resource.split_once(':') {
            _ if self.resource == ANY => true,
            None => self.resource == kind,
            Some((known, given)) => known == kind && (given == ANY || (given == id && !id.is_empty())),
        }
    }

    fn is_of(&self, key: &str) -> bool {
        self.subject == ANY || self.subject.strip_prefix("key:") == Some(key)
    }
}

/// Whether the key of the id `key` may do something to a resource, as far as policies say. Any that denies it decides; else
/// one that allows it; else it may if no policy allows it to somebody else.
pub(crate) fn permits(policies: &[Policy], key: &str, action: Action, resource: Resource<'_>) -> bool {
    let (mut allowed, mut reserved) = (false, false);
    for policy in policies.iter().filter(|policy| policy.action == action && policy.covers(resource)) {
        match (policy.effect, policy.is_of(key)) {
            (Effect::Deny, true) => return false,
            (Effect::Allow, true) => allowed = true,
            (Effect::Allow, false) => reserved = true,
            (Effect::Deny, false) => {}
        }
    }
    allowed || !reserved
}

const ANY: &str = "*";
const MODEL: &str = "model";
const PROVIDER: &str = "provider";
const BALANCER: &str = "load-balancer";
const TENANT: &str = "tenant";
const POLICIES: &str = "policies";

#[cfg(test)]
mod tests {
    use super::*;

    fn policies(lines: &str) -> Vec<Policy> {
        let policy = |line: &str| {
            let words: Vec<&str> = line.split(' ').collect();
            Policy {
                uuid: line.to_owned(),
                effect: Effect::parse(words[0]).unwrap(),
                action: Action::parse(words[1]).unwrap(),
                resource: words[2].to_owned(),
                subject: words[3].to_owned(),
                created: 0,
                rest: Map::new(),
            }
        };
        lines.split(", ").filter(|line| !line.is_empty()).map(policy).collect()
    }

    #[test]
    fn deny_wins_and_an_allow_shuts_out_all_others() {
        for (lines, ours, theirs) in [
            ("", true, true),
            ("deny read model:m key:a", false, true),
            ("allow read model:m key:a", true, false),
            ("allow read model:m key:a, deny read model:m key:a", false, false),
            ("deny read model:m key:a, allow read model:m *", false, true),
            ("deny read model:m *, allow read model:m key:a", false, false),
            ("allow read model:m AccessGroupId-1", false, false),
            ("allow read model:m AccessGroupId-1, allow read model:* key:a", true, false),
            ("deny read model:m AccessGroupId-1", true, true),
            ("deny read model:other key:a", true, true),
            ("deny write model:m key:a", true, true),
            ("deny read provider:m key:a", true, true),
            ("deny read model:* key:a", false, true),
            ("deny read * key:a", false, true),
            ("allow read * key:b", false, true),
            ("deny read model:m key:", true, true),
            ("deny read model:m key:ab", true, true),
        ] {
            let policies = policies(lines);
            let may = |key: &str| permits(&policies, key, Action::Read, Resource::Model("m"));
            assert_eq!((may("a"), may("b")), (ours, theirs), "{lines}");
        }
    }

    #[test]
    fn what_is_to_be_made_is_covered_by_wildcards_alone() {
        let may = |lines: &str| permits(&policies(lines), "a", Action::Write, Resource::Provider(""));
        assert!(may("deny write provider:p key:a"));
        assert!(!may("deny write provider:* key:a"));
        assert!(!may("deny write * key:a"));
    }

    #[test]
    fn resources_and_subjects_have_a_form() {
        let long = format!("model:{}", "a".repeat(limits::NAME_CHARS));
        for good in
            ["*", "tenant", "policies", "model:*", "model:a-1", "provider:*", "load-balancer:9a6c", long.as_str()]
        {
            assert!(Policy::knows_resource(good), "{good}");
        }
        let longer = format!("{long}a");
        for bad in [
            "",
            "model",
            "model:",
            "model:a b",
            "model:a*",
            "model:a:b",
            "tenant:x",
            "key:a",
            "Model:a",
            longer.as_str(),
        ] {
            assert!(!Policy::knows_resource(bad), "{bad}");
        }
        let subject = "a".repeat(limits::SUBJECT_BYTES);
        assert!(Policy::knows_subject(&subject) && Policy::knows_subject("AccessGroupId-56c5e703-x"));
        assert!(
            !Policy::knows_subject(&format!("{subject}a"))
                && !Policy::knows_subject("")
                && !Policy::knows_subject("a b")
        );
    }

    #[test]
    fn a_record_that_cannot_be_understood_is_no_policy_less() {
        let good = serde_json::json!({"uuid": "u", "action": "read", "effect": "deny", "resource": "*", "subject": "*",
            "created_at": 1, "note": "x"});
        assert_eq!(Policy::read(good.clone()).map(|policy| policy.to_value()), Some(good.clone()));
        for (name, value) in [("action", "do"), ("effect", "audit"), ("resource", "moon:1")] {
            let mut bad = good.clone();
            bad[name] = value.into();
            assert_eq!(Policy::read(bad), None, "{name}");
        }
    }
}
