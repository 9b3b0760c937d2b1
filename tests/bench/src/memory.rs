//! Memory of a `bootstrap` that has answered some requests, in MB.

use std::path::PathBuf;

use crate::arguments::Arguments;
use crate::sample::Sample;
use crate::subject::{Aws, Setting};
use crate::{Outcome, process, run};

pub(crate) async fn main(given: Vec<String>) -> Outcome<()> {
    let arguments = Arguments::read(given, &["root", "bootstrap", "work", "python", "requests"])?;
    let root = PathBuf::from(arguments.needed("root")?);
    let setting = Setting::new(root, PathBuf::from(arguments.needed("work")?)).await?;
    let aws = Aws::start(&setting.root, arguments.needed("python")?, &setting.places).await?;
    let subject = setting.function(arguments.needed("bootstrap")?, &aws).await?;
    let requests: u64 = arguments.parsed("requests", 200)?;
    let mut answered = 0;
    for stream in ["false", "true"] {
        let count = (requests / 2).to_string();
        let limits = ["--stream", stream, "--requests", &count, "--warmup", "0", "--secs", "60"];
        let sample: Sample = run::load(&setting, &subject, &limits).await?;
        if sample.bad > 0 {
            return Err(sample.fault.unwrap_or_default().into());
        }
        answered += sample.good;
    }
    println!("{{\"requests\":{answered},\"resident_mb\":{:.1}}}", process::resident_mb(subject.pid));
    Ok(())
}
