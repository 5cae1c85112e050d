//! What image names mean on this machine: the entries of the configuration, then the built-in ones.

use std::{collections::BTreeMap, path::Path};

use embedded::node::{ImageEntry, ImageTable, ImageTableError};

/// Names under which JupyterLab is asked for: our own sample kind, and the images that Kubeflow and
/// the Jupyter project publish.
const JUPYTER: [&str; 7] = [
    "quartermaster/jupyterlab*",
    "*/jupyter-scipy:*",
    "*/jupyter-pytorch*",
    "*/jupyter-tensorflow*",
    "*/notebook-servers/jupyter*",
    "jupyter/*-notebook*",
    "quay.io/jupyter/*-notebook*",
];

/// The table that pods are started by; `program` is this very executable.
pub(crate) fn table(
    configured: Vec<ImageEntry>,
    program: &Path,
) -> Result<ImageTable, ImageTableError> {
    let mut entries = configured;
    entries.push(files(program));
    entries.extend(JUPYTER.map(jupyter));
    ImageTable::new(entries)
}

fn files(program: &Path) -> ImageEntry {
    ImageEntry {
        image: "quartermaster/files*".to_owned(),
        command: vec![program.to_string_lossy().into_owned(), "files".to_owned()],
        args: Vec::new(),
        env: env([("QUARTERMASTER_FILES_LISTEN", "$(POD_IP):8080"), ("HOME", "/home/user")]),
    }
}

fn jupyter(image: &str) -> ImageEntry {
    let mut args = vec![
        "--no-browser".to_owned(),
        "--ServerApp.ip=$(POD_IP)".to_owned(),
        "--ServerApp.port=8888".to_owned(),
        "--ServerApp.port_retries=0".to_owned(),
        // The prefix that the kind hands over, as the Kubeflow images read it.
        "--ServerApp.base_url=$(NB_PREFIX)".to_owned(),
        "--ServerApp.root_dir=/home/jovyan".to_owned(),
        // The proxy in front is the only way in, and it speaks for the browser's origin.
        "--ServerApp.allow_remote_access=True".to_owned(),
    ];
    if rustix::process::geteuid().is_root() {
        args.push("--ServerApp.allow_root=True".to_owned());
    }
    ImageEntry {
        image: image.to_owned(),
        command: vec!["jupyter".to_owned(), "lab".to_owned()],
        args,
        env: env([
            ("NB_PREFIX", "/"),
            ("HOME", "/home/jovyan"),
            ("JUPYTER_TOKEN", "$(QUARTERMASTER_CONNECT_TOKEN)"),
        ]),
    }
}

fn env<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, String> {
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_wins_over_what_is_built_in() {
        let own = ImageEntry {
            image: "jupyter/*".to_owned(),
            command: vec!["/opt/lab".to_owned()],
            args: Vec::new(),
            env: BTreeMap::new(),
        };
        let table = table(vec![own], Path::new("/q")).unwrap();
        let command = |image| table.find(image).map(|entry| entry.command.join(" "));
        assert_eq!(command("jupyter/scipy-notebook:latest").as_deref(), Some("/opt/lab"));
        assert_eq!(command("quartermaster/files").as_deref(), Some("/q files"));
        assert_eq!(command("quartermaster/jupyterlab:4").as_deref(), Some("jupyter lab"));
        let kubeflow = "ghcr.io/kubeflow/kubeflow/notebook-servers/jupyter-scipy:v1.10.0";
        assert_eq!(command(kubeflow).as_deref(), Some("jupyter lab"));
        assert_eq!(command("registry.example.org/other:1"), None);
    }
}
