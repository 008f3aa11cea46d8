//! `spice-cloud-operator crds`.

use std::fs;
use std::io::Write;
use std::path::PathBuf;

use kube::ResourceExt;

use crate::api;

/// First line of a generated file.
const HEADER: &str = "# Generated from src/api by `make crds`.";

/// Arguments of `crds`.
#[derive(clap::Args)]
pub(super) struct CrdsArguments {
    /// Folder for one file per kind [default: standard output]
    #[arg(long, value_name = "FOLDER")]
    output: Option<PathBuf>,
}

pub(super) fn run(arguments: &CrdsArguments) -> Result<(), String> {
    for definition in api::custom_resource_definitions() {
        let file_name = format!("{}.yaml", definition.name_any());
        let yaml = serde_saphyr::to_string(&definition)
            .map_err(|error| format!("cannot write {file_name} as YAML: {error}"))?;
        match &arguments.output {
            Some(folder) => {
                let path = folder.join(&file_name);
                fs::create_dir_all(folder)
                    .and_then(|()| fs::write(&path, format!("{HEADER}\n{yaml}")))
                    .map_err(|error| format!("--output: cannot write {}: {error}", path.display()))?;
            }
            None => std::io::stdout()
                .write_all(format!("---\n{yaml}").as_bytes())
                .map_err(|error| format!("cannot write to standard output: {error}"))?,
        }
    }
    Ok(())
}
