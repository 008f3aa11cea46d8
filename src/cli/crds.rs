//! `spice-cloud-operator crds`.

use std::fs;
use std::io::Write;
use std::path::PathBuf;

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
    for file in api::custom_resource_definitions() {
        let yaml = serde_saphyr::to_string(&file.definition)
            .map_err(|error| format!("cannot write {} as YAML: {error}", file.name))?;
        match &arguments.output {
            Some(folder) => {
                let path = folder.join(&file.name);
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
