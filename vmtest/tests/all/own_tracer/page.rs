//! The fenced blocks of a page, and the commands in them.

/// A page of the documentation.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) blocks: Vec<Block>,
}

/// What is between two fences.
#[derive(Debug)]
pub(crate) struct Block {
    /// The line of the first fence, counted from 1.
    pub(crate) line: usize,
    pub(crate) language: String,
    /// What follows the language.
    pub(crate) words: Vec<String>,
    pub(crate) text: String,
}

/// A command, and what the page says that it prints.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Command<'a> {
    pub(crate) line: &'a str,
    pub(crate) shown: Vec<&'a str>,
}

impl Page {
    pub(crate) fn read(text: &str) -> Self {
        let mut blocks: Vec<Block> = Vec::new();
        let mut open = false;
        for (number, line) in (1..).zip(text.lines()) {
            match (line.strip_prefix("```"), open) {
                (Some(_), true) => open = false,
                (Some(info), false) => {
                    let mut words = info.split_whitespace().map(str::to_owned);
                    let language = words.next().unwrap_or_default();
                    let words = words.collect();
                    blocks.push(Block { line: number, language, words, text: String::new() });
                    open = true;
                }
                (None, true) => {
                    if let Some(block) = blocks.last_mut() {
                        block.text.push_str(line);
                        block.text.push('\n');
                    }
                }
                (None, false) => {}
            }
        }
        assert!(!open, "the last block has no end");
        Page { blocks }
    }
}

impl Block {
    /// The commands of a session.
    pub(crate) fn commands(&self) -> Vec<Command<'_>> {
        let mut commands: Vec<Command<'_>> = Vec::new();
        for line in self.text.lines() {
            match (line.strip_prefix("$ "), commands.last_mut()) {
                (Some(line), _) => commands.push(Command { line, shown: Vec::new() }),
                (None, Some(command)) => command.shown.push(line),
                (None, None) => panic!("line {}: what prints `{line}`?", self.line),
            }
        }
        commands
    }
}

#[test]
fn commands_have_their_output() {
    let page = Page::read("a\n```console fails\n$ one\n1\n...\n$ two\n```\nb\n```\nc\n```\n");
    assert_eq!(page.blocks[0].language, "console");
    assert_eq!(page.blocks[0].words, ["fails"]);
    assert_eq!(
        page.blocks[0].commands(),
        [Command { line: "one", shown: vec!["1", "..."] }, Command { line: "two", shown: vec![] }]
    );
    assert_eq!((page.blocks[1].line, page.blocks[1].text.as_str()), (9, "c\n"));
}
