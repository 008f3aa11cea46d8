//! The source files of the crate, and their uses of each other.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use crate::scanner::{self, Token};

/// One source file.
pub struct Source {
    /// Path below `src/`.
    pub file: String,
    /// Path of the module.
    pub module: Vec<String>,
    pub text: String,
}

/// Every source file, by its path below `src/`.
pub fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let source = |path: PathBuf| {
        let file = path.strip_prefix(&root).unwrap().to_string_lossy().into_owned();
        Source { module: module(&file), text: fs::read_to_string(path).unwrap(), file }
    };
    rust_files(&root).into_iter().map(source).collect()
}

/// Every Rust file below a folder, sorted.
pub fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let (mut folders, mut files) = (vec![folder.to_owned()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

/// The module in a file below `src/`. The two roots are modules of their own name.
pub fn module(file: &str) -> Vec<String> {
    let mut names: Vec<String> = file.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
    if names.last().is_some_and(|name| name == "mod") {
        names.pop();
    }
    names
}

/// The product code of a file.
pub struct Product {
    pub file: String,
    pub module: Vec<String>,
    pub tokens: Vec<Token>,
}

/// The product code of all files: no test modules, inline or in files of their own.
pub fn product_code(sources: &[Source]) -> Vec<Product> {
    let mut tests: BTreeSet<Vec<String>> = BTreeSet::new();
    let mut all = Vec::new();
    for Source { file, module, text } in sources {
        let (tokens, test_modules) = scanner::without_tests(&scanner::tokens(text));
        tests.extend(test_modules.into_iter().map(|name| [module.clone(), vec![name]].concat()));
        all.push(Product { file: file.clone(), module: module.clone(), tokens });
    }
    let is_test = |module: &[String]| (1..=module.len()).any(|length| tests.contains(&module[..length]));
    all.retain(|product| !is_test(&product.module));
    all
}

/// The files that each file uses, with the line of the first use.
pub type Uses = BTreeMap<String, BTreeMap<String, usize>>;

/// Returns the uses of all files. A path through a re-export counts as the file that defines the item.
pub fn uses(code: &[Product]) -> Uses {
    let graph = Graph::new(code);
    let mut uses = Uses::new();
    for (file, paths) in &graph.paths {
        let used = uses.entry((*file).to_owned()).or_default();
        for (line, path) in paths {
            let target = graph.file_of(path, 0);
            if target != *file {
                used.entry(target.to_owned()).or_insert(*line);
            }
        }
    }
    uses
}

/// The modules of the crate, and the paths that they name.
struct Graph<'a> {
    files: BTreeMap<&'a [String], &'a str>,
    paths: BTreeMap<&'a str, Vec<scanner::CratePath>>,
}

impl<'a> Graph<'a> {
    fn new(code: &'a [Product]) -> Self {
        let root: &[String] = &[];
        let is_root = |product: &Product| product.file == "lib.rs";
        let files = code.iter().map(|it| (if is_root(it) { root } else { &it.module[..] }, it.file.as_str()));
        let paths = code.iter().map(|it| {
            let children = scanner::child_modules(&it.tokens);
            (it.file.as_str(), scanner::paths_with(&it.module, &it.tokens, &children))
        });
        Self { files: files.collect(), paths: paths.collect() }
    }

    /// The file that defines the item at a path.
    fn file_of(&self, path: &[String], depth: usize) -> &'a str {
        let inner = (0..=path.len()).rev().find(|length| self.files.contains_key(&path[..*length]));
        let length = inner.expect("lib.rs is the module of every path");
        let file = self.files[&path[..length]];
        let Some(item) = path.get(length).filter(|_| depth < 8) else { return file };
        // A path to the item itself, such as `crate::planner::Plan`, is no re-export of it.
        let mut imported =
            self.paths[file].iter().filter(|(_, import)| import.last() == Some(item) && import[..] != *path);
        match imported.next() {
            Some((_, import)) => self.file_of(import, depth + 1),
            None => file,
        }
    }
}
