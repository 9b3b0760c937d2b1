//! A stand-in for DynamoDB and Secrets Manager.

use std::path::Path;

use crate::child::{self, Child};
use crate::machine::Places;
use crate::subject::words;
use crate::{Outcome, serve};

/// A running stand-in that holds the gateway's table.
#[derive(Debug)]
pub(crate) struct Aws {
    origin: String,
    _moto: Child,
}

impl Aws {
    /// `python` is the tests' Python environment (`infra/env` names it).
    pub(crate) async fn start(root: &Path, python: &str, places: &Places) -> Outcome<Self> {
        let port = serve::free_port().await?;
        let server = format!("{python}/bin/moto_server");
        let command = words([&server, "-H", "127.0.0.1", "-p", &port.to_string()]);
        let mut moto = Child::start(&command, &[], places.tools.as_deref())?;
        let origin = format!("http://127.0.0.1:{port}");
        moto.answers(&format!("{origin}/moto-api/")).await?;
        let aws = Self { origin, _moto: moto };
        let (script, template) = (root.join("infra/make-table"), root.join("template.yaml"));
        let python = format!("{python}/bin/python");
        let command = words([&python, &script.display().to_string(), &template.display().to_string(), TABLE]);
        child::output(&command, &aws.environment(), None).await?;
        Ok(aws)
    }

    /// What leads the AWS SDK there.
    pub(crate) fn environment(&self) -> Vec<(&'static str, String)> {
        vec![
            ("AWS_ENDPOINT_URL", self.origin.clone()),
            ("AWS_REGION", "us-east-1".to_owned()),
            ("AWS_DEFAULT_REGION", "us-east-1".to_owned()),
            ("AWS_ACCESS_KEY_ID", "testing".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "testing".to_owned()),
            ("TABLE_NAME", TABLE.to_owned()),
        ]
    }
}

const TABLE: &str = "gateway-bench";
