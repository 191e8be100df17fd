//! `rustcbuildx cache keygen`: a key to sign with.

use std::process::ExitCode;

use anyhow::Result;

use crate::{config::env::SIGNING_KEY, remote::signature::Signer};

pub fn run() -> Result<ExitCode> {
    let signer = Signer::generate()?;
    println!("# For whoever may write, as a secret:\n{SIGNING_KEY}={}", signer.secret());
    println!("# For all, in the settings of the remote:\ntrust = [\"{}\"]", signer.public());
    Ok(ExitCode::SUCCESS)
}
