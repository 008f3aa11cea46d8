//! Reads Rust sources as text: tokens, the paths of the crate that a text names, and its items. Uses nothing of the
//! crate.

/// A name, `::` or a single sign, with its line.
#[derive(Clone, Debug)]
pub struct Token {
    pub line: usize,
    pub text: String,
}

impl Token {
    fn is_name(&self) -> bool {
        self.text.chars().next().is_some_and(|c| c.is_alphabetic() || c == '_')
    }
}

/// A path from the root of the crate, with its line. An empty path is the root itself.
pub type CratePath = (usize, Vec<String>);

/// The paths of the crate that a file names: those that start with `crate`, `self` or `super`.
pub fn crate_paths(module: &[String], tokens: &[Token]) -> Vec<CratePath> {
    paths_with(module, tokens, &[])
}

/// Like [`crate_paths`], with the paths that start with one of the `children`, which are modules of this one.
pub fn paths_with(module: &[String], tokens: &[Token], children: &[String]) -> Vec<CratePath> {
    let is_root = matches!(module, [only] if only == "main" || only == "lib");
    let mut inside: Vec<String> = if is_root { Vec::new() } else { module.to_vec() };
    // Depths at which the inline modules end.
    let (mut ends, mut depth) = (Vec::new(), 0_usize);
    let (mut found, mut next) = (Vec::new(), 0);
    while let Some(token) = tokens.get(next) {
        let after = |offset: usize| tokens.get(next + offset).map_or("", |token| token.text.as_str());
        match token.text.as_str() {
            "mod" if after(2) == "{" => {
                inside.push(after(1).to_owned());
                ends.push(depth);
                depth += 1;
                next += 3;
            }
            // A visibility such as `pub(in crate::controller)` uses nothing.
            "in" if next > 0 && tokens[next - 1].text == "(" => next = expand(tokens, next + 1).1,
            "{" => (depth, next) = (depth + 1, next + 1),
            "}" => {
                depth = depth.saturating_sub(1);
                if ends.last() == Some(&depth) {
                    ends.pop();
                    inside.pop();
                }
                next += 1;
            }
            "crate" | "super" | "self" | "spice_cloud_operator" if after(1) == "::" || after(1) == "as" => {
                let (paths, end) = expand(tokens, next);
                // `self as name` in a group names nothing that its group does not name.
                let named = paths.iter().filter(|_| token.text != "self" || after(1) == "::");
                found.extend(named.map(|path| (token.line, resolve(&inside, path))));
                next = end;
            }
            name => {
                let (paths, end) = expand(tokens, next);
                if ends.is_empty() && after(1) == "::" && children.iter().any(|child| child == name) {
                    found.extend(paths.iter().map(|path| (token.line, resolve(&inside, path))));
                }
                next = end.max(next + 1);
            }
        }
    }
    found
}

/// A path from the root of the crate. `super` goes up from the module that the path is in.
fn resolve(inside: &[String], path: &[String]) -> Vec<String> {
    let mut whole = inside.to_vec();
    for name in path {
        match name.as_str() {
            "crate" | "spice_cloud_operator" => whole.clear(),
            "super" => drop(whole.pop()),
            "self" | "*" => {}
            name => whole.push(name.to_owned()),
        }
    }
    whole
}

/// The modules that a file declares, each in a file of its own.
pub fn child_modules(tokens: &[Token]) -> Vec<String> {
    let declared = tokens.windows(3).filter(|window| window[0].text == "mod" && window[2].text == ";");
    declared.map(|window| window[1].text.clone()).collect()
}

/// A file without its test code, and the test modules that the file declares.
pub fn without_tests(tokens: &[Token]) -> (Vec<Token>, Vec<String>) {
    const ATTRIBUTE: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let is_test = |at: usize| {
        let here = tokens[at..].iter().map(|token| token.text.as_str());
        here.take(ATTRIBUTE.len()).eq(ATTRIBUTE)
    };
    let (mut product, mut tests, mut next) = (Vec::new(), Vec::new(), 0);
    while next < tokens.len() {
        if !is_test(next) {
            product.push(tokens[next].clone());
            next += 1;
            continue;
        }
        let end = item_end(tokens, next + ATTRIBUTE.len());
        tests.extend(child_modules(&tokens[next..end]));
        next = end;
    }
    (product, tests)
}

/// The end of the item that starts at a token: its semicolon or its closing brace.
fn item_end(tokens: &[Token], start: usize) -> usize {
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate().skip(start) {
        match token.text.as_str() {
            "{" => depth += 1,
            "}" if depth <= 1 => return at + 1,
            "}" => depth -= 1,
            ";" if depth == 0 => return at + 1,
            _ => {}
        }
    }
    tokens.len()
}

/// The types that a file defines, with their lines. Associated types are no definitions of a name.
pub fn type_names(tokens: &[Token]) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    // For each open brace, whether it opens a trait or an implementation.
    let (mut blocks, mut opens_associated): (Vec<bool>, bool) = (Vec::new(), false);
    for (at, token) in tokens.iter().enumerate() {
        let follows_item =
            |at: usize| at == 0 || [";", "}", "]", ")", "pub", "{", "unsafe"].contains(&&*tokens[at - 1].text);
        match token.text.as_str() {
            "{" => blocks.push(std::mem::take(&mut opens_associated)),
            "}" => drop(blocks.pop()),
            "impl" | "trait" if follows_item(at) => opens_associated = true,
            _ => {}
        }
        let defines = match token.text.as_str() {
            "struct" | "enum" | "trait" => true,
            "type" => blocks.last() != Some(&true),
            _ => false,
        };
        if let Some(name) = tokens.get(at + 1).filter(|name| defines && name.is_name()) {
            found.push((name.line, name.text.clone()));
        }
    }
    found
}

/// All paths of the tree that starts at a token, and where it ends.
pub fn expand(tokens: &[Token], start: usize) -> (Vec<Vec<String>>, usize) {
    let is = |index: usize, text: &str| tokens.get(index).is_some_and(|token| token.text == text);
    let Some(first) = tokens.get(start).filter(|token| token.is_name() || token.text == "*") else {
        return (Vec::new(), start);
    };
    if !is(start + 1, "::") || first.text == "*" {
        return (vec![vec![first.text.clone()]], start + 1);
    }
    let with_first = |path: Vec<String>| [vec![first.text.clone()], path].concat();
    if !is(start + 2, "{") {
        let (paths, end) = expand(tokens, start + 2);
        // A turbofish, or nothing that this scanner knows, ends a path.
        let paths = if paths.is_empty() { vec![Vec::new()] } else { paths };
        return (paths.into_iter().map(with_first).collect(), end.max(start + 2));
    }
    let (mut all, mut next) = (Vec::new(), start + 3);
    while next < tokens.len() && !is(next, "}") {
        let (paths, end) = expand(tokens, next);
        all.extend(paths.into_iter().map(with_first));
        next = end.max(next + 1);
        if is(next, "as") {
            next += 2;
        }
    }
    (all, next + 1)
}

/// Names, `::` and single signs; no comments, and of strings only those that are paths (attributes take such).
pub fn tokens(text: &str) -> Vec<Token> {
    let chars: Vec<char> = text.chars().collect();
    let (mut found, mut at, mut line) = (Vec::new(), 0, 1);
    while at < chars.len() {
        let rest = &chars[at..];
        let length = match rest {
            ['/', '/', ..] => rest.iter().position(|c| *c == '\n').unwrap_or(rest.len()),
            ['/', '*', ..] => block_comment(rest),
            ['"', ..] => quoted(rest),
            ['r', '"' | '#', ..] => raw_string(rest, 1).unwrap_or(1),
            ['b' | 'c', 'r', '"' | '#', ..] => raw_string(rest, 2).unwrap_or(2),
            ['\'', '\\', ..] => 2 + rest.iter().skip(3).position(|c| *c == '\'').unwrap_or(0) + 2,
            ['\'', _, '\'', ..] => 3,
            [c, ..] if c.is_alphanumeric() || *c == '_' => {
                rest.iter().position(|c| !c.is_alphanumeric() && *c != '_').unwrap_or(rest.len())
            }
            [':', ':', ..] => 2,
            _ => 1,
        };
        let text: String = rest[..length.min(rest.len())].iter().collect();
        let comment = text.starts_with("//") || text.starts_with("/*");
        let inner = text.trim_matches('"');
        let path_string = inner.contains("::") && inner.chars().all(|c| c.is_alphanumeric() || "_:".contains(c));
        if text.starts_with('"') && path_string {
            found.extend(tokens(inner).into_iter().map(|token| Token { line, ..token }));
        } else if !comment && !text.contains(['"', '\'']) && !text.trim().is_empty() {
            found.push(Token { line, text: text.clone() });
        }
        line += text.matches('\n').count();
        at += length;
    }
    found
}

fn block_comment(text: &[char]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        match text[at..] {
            ['/', '*', ..] => (depth, at) = (depth + 1, at + 2),
            ['*', '/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn quoted(text: &[char]) -> usize {
    let mut at = 1;
    while at < text.len() && text[at] != '"' {
        at += if text[at] == '\\' { 2 } else { 1 };
    }
    at + 1
}

fn raw_string(text: &[char], prefix: usize) -> Option<usize> {
    let hashes = text[prefix..].iter().take_while(|c| **c == '#').count();
    if text.get(prefix + hashes) != Some(&'"') {
        return None;
    }
    let end: Vec<char> = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
    let body = prefix + hashes + 1;
    text[body..].windows(end.len()).position(|window| window == end).map(|at| body + at + end.len())
}
