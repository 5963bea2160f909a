//! Of what a restore is, on the command line.

use std::path::PathBuf;

use api::wire::checkpoint;
use clap::Args;

use crate::fault::Fault;

/// The options of `plan` and `restore`.
#[derive(Debug, Args)]
pub struct Scope {
    /// Only what is at or below this path; more than once for several. Of other components only those that are asked for.
    #[arg(long = "path", value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Only files, and what else is asked for.
    #[arg(long)]
    files: bool,
    /// Only tokens, and what else is asked for.
    #[arg(long)]
    tokens: bool,
    /// Only settings of the kernel, and what else is asked for.
    #[arg(long)]
    settings: bool,
    /// Only databases, and what else is asked for.
    #[arg(long)]
    databases: bool,
    /// Only services, and what else is asked for.
    #[arg(long)]
    services: bool,
    /// Read every file, and recognise none as unchanged.
    #[arg(long)]
    pub paranoid: bool,
    /// Change files where they are instead of exchanging each folder at once for a whole new one: quicker where little differs, but
    /// readers can see some files that are new beside some that are old.
    #[arg(long)]
    pub in_place: bool,
}

impl Scope {
    /// As it is asked for; none: everything.
    pub fn wire(&self) -> Result<Option<checkpoint::Scope>, Fault> {
        let paths = absolute(&self.paths)?;
        let files = self.files || !paths.is_empty();
        let Self { tokens, settings, databases, services, .. } = *self;
        let scope = checkpoint::Scope { files, tokens, paths, settings, databases, services };
        Ok((files || tokens || settings || databases || services).then_some(scope))
    }

    /// The same in words, behind a checkpoint's number.
    pub fn within(&self) -> String {
        let mut parts: Vec<_> = self.paths.iter().map(|path| path.display().to_string()).collect();
        parts.extend(self.files.then(|| "files".to_owned()));
        let others = [
            (self.tokens, "tokens"),
            (self.settings, "settings"),
            (self.databases, "databases"),
            (self.services, "services"),
        ];
        parts.extend(others.into_iter().filter(|(asked, _)| *asked).map(|(_, name)| name.to_owned()));
        if parts.is_empty() { String::new() } else { format!(" in {}", parts.join(", ")) }
    }
}

/// Paths as the daemon takes them: absolute, for its working folder is another one, and without a slash at the end.
pub fn absolute(paths: &[PathBuf]) -> Result<Vec<String>, Fault> {
    let absolute = |path: &PathBuf| {
        let wrong = |why: &str| Fault::Usage(format!("{}: {why}", path.display()));
        let whole = std::path::absolute(path).map_err(|error| wrong(&error.to_string()))?;
        let text = whole.to_str().ok_or_else(|| wrong("it is no UTF-8: name a folder above it"))?;
        let text = text.trim_end_matches('/');
        Ok(if text.is_empty() { "/".to_owned() } else { text.to_owned() })
    };
    paths.iter().map(absolute).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_restricts_files_and_leaves_tokens_out() {
        let options = |paths: &[&str], files, tokens| {
            let paths = paths.iter().map(PathBuf::from).collect();
            Scope {
                paths,
                files,
                tokens,
                settings: false,
                databases: false,
                services: false,
                paranoid: false,
                in_place: false,
            }
        };
        let scope = |paths: &[&str], files, tokens| options(paths, files, tokens).wire().unwrap();
        let of = |files, tokens, paths: &[&str]| {
            let paths = paths.iter().map(|path| (*path).to_owned()).collect();
            checkpoint::Scope { files, tokens, paths, settings: false, databases: false, services: false }
        };
        let wire = |files, tokens, paths: &[&str]| Some(of(files, tokens, paths));
        let settings = Scope { settings: true, ..options(&[], false, true) };
        assert_eq!(
            settings.wire().unwrap(),
            Some(checkpoint::Scope { settings: true, ..of(false, true, &[]) })
        );
        assert_eq!(settings.within(), " in tokens, settings");
        let databases = Scope { databases: true, ..options(&[], false, false) };
        assert_eq!(
            databases.wire().unwrap(),
            Some(checkpoint::Scope { databases: true, ..of(false, false, &[]) })
        );
        let services = Scope { services: true, ..options(&[], false, false) };
        assert_eq!(
            services.wire().unwrap(),
            Some(checkpoint::Scope { services: true, ..of(false, false, &[]) })
        );
        assert_eq!(services.within(), " in services");
        assert_eq!(scope(&[], false, false), None);
        assert_eq!(scope(&[], true, false), wire(true, false, &[]));
        assert_eq!(scope(&[], false, true), wire(false, true, &[]));
        assert_eq!(scope(&["/a/", "/b//c"], false, false), wire(true, false, &["/a", "/b/c"]));
        assert_eq!(scope(&["/"], false, true), wire(true, true, &["/"]));
        let here = std::env::current_dir().unwrap().join("x");
        assert_eq!(scope(&["./x"], false, false), wire(true, false, &[here.to_str().unwrap()]));
    }
}
