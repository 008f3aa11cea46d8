//! `spice-cloud-operator crds`.

use std::fs;
use std::io::Write;
use std::path::PathBuf;

use crate::api;

/// Settings of `crds`.
#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Write one file a kind into this folder instead of printing all of them.
    #[arg(long, value_name = "FOLDER")]
    output: Option<PathBuf>,
}

/// Prints or writes the CustomResourceDefinitions.
pub(super) fn run(arguments: &Arguments) -> Result<(), String> {
    for file in api::custom_resource_definitions() {
        let text = serde_saphyr::to_string(&file.definition)
            .map_err(|error| format!("cannot write {} as YAML: {error}", file.name))?;
        match &arguments.output {
            Some(folder) => {
                let path = folder.join(&file.name);
                fs::create_dir_all(folder)
                    .and_then(|()| fs::write(&path, format!("{GENERATED}\n{text}")))
                    .map_err(|error| format!("--output: cannot write {}: {error}", path.display()))?;
            }
            None => std::io::stdout()
                .write_all(format!("---\n{text}").as_bytes())
                .map_err(|error| format!("cannot print: {error}"))?,
        }
    }
    Ok(())
}

const GENERATED: &str = "# Generated from src/api by `make crds`.";
