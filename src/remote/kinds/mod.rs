//! The kinds of remotes: a folder, S3 and what speaks its protocol, plain HTTP, a registry.

mod folder;
mod network;
mod objects;
mod registry;
pub mod remote;
mod turns;

use anyhow::{Result, bail};

use self::{folder::Folder, objects::Objects, registry::Registry, remote::Remote};
use crate::config::remotes::RemoteSettings;

/// The remote of these settings, not asked anything yet.
pub fn connect(settings: &RemoteSettings) -> Result<Box<dyn Remote>> {
    let Some((scheme, rest)) = settings.url.split_once("://") else { bail!("it has no address") };
    Ok(match scheme {
        "file" => Box::new(Folder::new(rest.into())),
        "s3" => Box::new(Objects::of_bucket(rest)?),
        "http" | "https" => {
            Box::new(Objects::of_server(&settings.url, settings.authorization.as_deref())?)
        }
        _ => Box::new(Registry::new(rest, scheme == "oci+http")?),
    })
}
