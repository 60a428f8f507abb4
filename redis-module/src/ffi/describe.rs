//! Tells the server about a command: summary, arguments, keys. The server copies all of it.

use super::{Ctx, c_text, ok, redis};
use redis_module::raw;
use std::ffi::{CString, c_char, c_int};
use std::ptr;

/// What `COMMAND DOCS` and `COMMAND INFO` answer.
pub(crate) struct Description<'a> {
    pub(crate) name: &'a str,
    pub(crate) syntax: &'a str,
    pub(crate) summary: &'a str,
    pub(crate) complexity: &'a str,
    pub(crate) arity: i32,
    /// First key, last key, step; a first key of 0 means none.
    pub(crate) keys: (i32, i32, i32),
    pub(crate) writes: bool,
}

/// Describes a command that was created before.
pub(crate) fn describe(ctx: &Ctx<'_>, d: &Description<'_>) -> Result<(), String> {
    let c_name = c_text(&d.name.to_ascii_lowercase());
    let command = redis!(RedisModule_GetCommand(ctx.raw, c_name.as_ptr()));
    if command.is_null() {
        return Err(format!("the command {} is not there", d.name));
    }
    let version = raw::RedisModuleCommandInfoVersion {
        version: 1,
        sizeof_historyentry: size_of::<raw::RedisModuleCommandHistoryEntry>(),
        sizeof_keyspec: size_of::<raw::RedisModuleCommandKeySpec>(),
        sizeof_arg: size_of::<raw::RedisModuleCommandArg>(),
    };
    let mut texts = Texts::default();
    // Empty ones end the list.
    let limits = if takes_limits(d.syntax) { limits_key_spec() } else { empty_key_spec() };
    let mut specs = [key_spec(d), limits, empty_key_spec()];
    let mut args = Vec::new();
    let mut nested = Nested::default();
    parse_list(d.syntax, &mut args, &mut texts, &mut nested);
    args.push(argument_end());
    let info = raw::RedisModuleCommandInfo {
        version: &version,
        summary: texts.keep(d.summary),
        complexity: texts.keep(d.complexity),
        since: texts.keep("0.1.0"),
        history: ptr::null_mut(),
        tips: ptr::null(),
        arity: d.arity as c_int,
        key_specs: specs.as_mut_ptr(),
        args: args.as_mut_ptr(),
    };
    ok(redis!(RedisModule_SetCommandInfo(command, &info)))
        .map_err(|()| format!("the server does not take the description of {}", d.name))
}

/// Keeps texts where they are until the server has copied them.
#[derive(Default)]
struct Texts(Vec<CString>);

impl Texts {
    fn keep(&mut self, text: &str) -> *const c_char {
        let text = c_text(text);
        let pointer = text.as_ptr();
        self.0.push(text);
        pointer
    }
}

/// Keeps lists of sub-arguments where they are until the server has copied them.
#[derive(Default)]
struct Nested(Vec<Vec<raw::RedisModuleCommandArg>>);

impl Nested {
    fn keep(&mut self, mut list: Vec<raw::RedisModuleCommandArg>) -> *mut raw::RedisModuleCommandArg {
        list.push(argument_end());
        let pointer = list.as_mut_ptr();
        self.0.push(list);
        pointer
    }
}

const OPTIONAL: c_int = raw::REDISMODULE_CMD_ARG_OPTIONAL as c_int;
const MULTIPLE: c_int = raw::REDISMODULE_CMD_ARG_MULTIPLE as c_int;

/// Turns a syntax line into arguments: words, `[optional groups]`, `a|b` choices, `…` for repetition.
fn parse_list(syntax: &str, out: &mut Vec<raw::RedisModuleCommandArg>, texts: &mut Texts, nested: &mut Nested) {
    let mut rest = syntax.trim();
    while !rest.is_empty() {
        if let Some(inner) = rest.strip_prefix('[') {
            let end = inner.find(']').unwrap_or(inner.len());
            let group = inner[..end].trim();
            if group.starts_with(LIMITS) {
                out.push(limits_argument(texts, nested));
                rest = inner.get(end + 1..).unwrap_or("").trim_start();
                continue;
            }
            let (group, repeats) = group.strip_suffix('…').map_or((group, 0), |g| (g.trim(), MULTIPLE));
            let mut argument = parse_group(group, texts, nested);
            argument.flags |= OPTIONAL | repeats;
            out.push(argument);
            rest = inner.get(end + 1..).unwrap_or("").trim_start();
            continue;
        }
        // A word in upper case takes the values after it into one block, up to the next bracket or keyword.
        let (word, tail) = rest.split_once(' ').unwrap_or((rest, ""));
        rest = tail.trim_start();
        if is_keyword(word) && !word.contains('|') {
            let stop = rest.find('[').unwrap_or(rest.len());
            out.push(parse_group(&format!("{word} {}", rest[..stop].trim()), texts, nested));
            rest = rest[stop..].trim_start();
        } else {
            out.push(parse_word(word, texts, nested));
        }
    }
}

/// `ID client seq` is a block after a token, `BEFORE n|AFTER n` a choice, `content` a value.
fn parse_group(group: &str, texts: &mut Texts, nested: &mut Nested) -> raw::RedisModuleCommandArg {
    let alternatives: Vec<&str> = group.split('|').collect();
    if alternatives.len() > 1 && alternatives.iter().all(|a| a.trim().contains(' ')) {
        let choices = alternatives.iter().map(|a| parse_group(a.trim(), texts, nested)).collect();
        return block("choice", raw::RedisModuleCommandArgType_REDISMODULE_ARG_TYPE_ONEOF, choices, texts, nested);
    }
    let words: Vec<&str> = group.split_whitespace().collect();
    match words.as_slice() {
        [only] => parse_word(only, texts, nested),
        [token, value] if is_keyword(token) => {
            let mut argument = parse_word(value, texts, nested);
            argument.token = texts.keep(token);
            argument
        }
        [first, values @ ..] => {
            let token = is_keyword(first);
            let members = if token { values } else { words.as_slice() };
            let list = members.iter().map(|word| parse_word(word, texts, nested)).collect();
            let name = first.to_ascii_lowercase();
            let mut argument =
                block(&name, raw::RedisModuleCommandArgType_REDISMODULE_ARG_TYPE_BLOCK, list, texts, nested);
            if token {
                argument.token = texts.keep(first);
            }
            argument
        }
        [] => parse_word("value", texts, nested),
    }
}

/// How the option begins of which `commands::limits` is made.
const LIMITS: &str = "LIMITS n ";

fn takes_limits(syntax: &str) -> bool {
    syntax.contains(LIMITS)
}

/// `[LIMITS n key burst count period_ms …]`: a number, and so many groups. Their keys are those of the second key spec.
fn limits_argument(texts: &mut Texts, nested: &mut Nested) -> raw::RedisModuleCommandArg {
    let mut members: Vec<_> =
        ["key", "burst", "count", "period_ms"].iter().map(|word| parse_word(word, texts, nested)).collect();
    members[0].key_spec_index = 1;
    let block_type = raw::RedisModuleCommandArgType_REDISMODULE_ARG_TYPE_BLOCK;
    let mut limit = block("limit", block_type, members, texts, nested);
    limit.flags |= MULTIPLE;
    let number = parse_word("n", texts, nested);
    let mut argument = block("limits", block_type, vec![number, limit], texts, nested);
    argument.token = texts.keep("LIMITS");
    argument.flags |= OPTIONAL;
    argument
}

fn parse_word(word: &str, texts: &mut Texts, nested: &mut Nested) -> raw::RedisModuleCommandArg {
    if word.contains('|') {
        let choices = word.split('|').map(|choice| token(choice, texts)).collect();
        return block("choice", raw::RedisModuleCommandArgType_REDISMODULE_ARG_TYPE_ONEOF, choices, texts, nested);
    }
    let is_number = word.ends_with("_ms")
        || matches!(
            word,
            "ms" | "n" | "rev" | "seq" | "len" | "count" | "burst" | "cost" | "after" | "max" | "from" | "to"
        );
    let kind = match word {
        "key" => raw::RedisModuleCommandArgType_REDISMODULE_ARG_TYPE_KEY,
        _ if is_number => raw::RedisModuleCommandArgType_REDISMODULE_ARG_TYPE_INTEGER,
        _ => raw::RedisModuleCommandArgType_REDISMODULE_ARG_TYPE_STRING,
    };
    let key_spec = if word == "key" { 0 } else { -1 };
    raw::RedisModuleCommandArg { name: texts.keep(word), type_: kind, key_spec_index: key_spec, ..argument_end() }
}

fn token(word: &str, texts: &mut Texts) -> raw::RedisModuleCommandArg {
    raw::RedisModuleCommandArg {
        name: texts.keep(&word.to_ascii_lowercase()),
        type_: raw::RedisModuleCommandArgType_REDISMODULE_ARG_TYPE_PURE_TOKEN,
        token: texts.keep(word),
        ..argument_end()
    }
}

fn block(
    name: &str,
    kind: raw::RedisModuleCommandArgType,
    list: Vec<raw::RedisModuleCommandArg>,
    texts: &mut Texts,
    nested: &mut Nested,
) -> raw::RedisModuleCommandArg {
    raw::RedisModuleCommandArg { name: texts.keep(name), type_: kind, subargs: nested.keep(list), ..argument_end() }
}

fn is_keyword(word: &str) -> bool {
    word.len() > 1 && word.chars().all(|c| c.is_ascii_uppercase() || c == '|')
}

/// The list of arguments ends with one without a name.
fn argument_end() -> raw::RedisModuleCommandArg {
    raw::RedisModuleCommandArg {
        name: ptr::null(),
        type_: raw::RedisModuleCommandArgType_REDISMODULE_ARG_TYPE_STRING,
        key_spec_index: -1,
        token: ptr::null(),
        summary: ptr::null(),
        since: ptr::null(),
        flags: raw::REDISMODULE_CMD_ARG_NONE as c_int,
        deprecated_since: ptr::null(),
        subargs: ptr::null_mut(),
        display_text: ptr::null(),
    }
}

fn key_spec(d: &Description<'_>) -> raw::RedisModuleCommandKeySpec {
    let (first, last, step) = d.keys;
    let access = if d.writes {
        raw::REDISMODULE_CMD_KEY_RW | raw::REDISMODULE_CMD_KEY_ACCESS | raw::REDISMODULE_CMD_KEY_UPDATE
    } else {
        raw::REDISMODULE_CMD_KEY_RO | raw::REDISMODULE_CMD_KEY_ACCESS
    };
    let mut spec = empty_key_spec();
    spec.flags = u64::from(access);
    spec.begin_search_type = raw::RedisModuleKeySpecBeginSearchType_REDISMODULE_KSPEC_BS_INDEX;
    spec.bs.index.pos = first;
    spec.find_keys_type = raw::RedisModuleKeySpecFindKeysType_REDISMODULE_KSPEC_FK_RANGE;
    // The last key counts from the first one, unless it is negative.
    spec.fk.range.lastkey = if last < 0 { last } else { last - first };
    spec.fk.range.keystep = step;
    spec.fk.range.limit = 0;
    spec
}

/// The keys of `LIMITS n key burst count period_ms …`. Incomplete, because an argument before it may be the same word: who
/// needs the keys of a call asks the server (`COMMAND GETKEYS`), and the server asks the module.
fn limits_key_spec() -> raw::RedisModuleCommandKeySpec {
    let mut spec = empty_key_spec();
    let flags = raw::REDISMODULE_CMD_KEY_RW | raw::REDISMODULE_CMD_KEY_ACCESS | raw::REDISMODULE_CMD_KEY_UPDATE;
    spec.flags = u64::from(flags | raw::REDISMODULE_CMD_KEY_INCOMPLETE);
    spec.begin_search_type = raw::RedisModuleKeySpecBeginSearchType_REDISMODULE_KSPEC_BS_KEYWORD;
    spec.bs.keyword.keyword = c"LIMITS".as_ptr();
    spec.bs.keyword.startfrom = 3;
    spec.find_keys_type = raw::RedisModuleKeySpecFindKeysType_REDISMODULE_KSPEC_FK_KEYNUM;
    spec.fk.keynum.keynumidx = 0;
    spec.fk.keynum.firstkey = 1;
    spec.fk.keynum.keystep = 4;
    spec
}

/// The list of key specs ends with an empty one.
fn empty_key_spec() -> raw::RedisModuleCommandKeySpec {
    // SAFETY: a struct of numbers and nullable pointers, for which zero is a value, and the one that ends the list.
    unsafe { std::mem::zeroed() }
}
