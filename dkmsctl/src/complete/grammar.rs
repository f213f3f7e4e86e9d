//! What a program's command line can consist of, and what each action is about.

use crate::Paths;

/// A program's actions and options.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grammar {
    /// What it can be asked to do.
    pub actions: Vec<Action>,
    /// How, in the order in which that is offered.
    pub options: Vec<Choice>,
}

/// An action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Action {
    /// The word.
    pub word: String,
    /// What it does.
    pub help: String,
    /// Paths that can stand where a package can.
    pub paths: Paths,
    /// The words of which one can stand there, each with what it means.
    pub words: Vec<(String, String)>,
}

/// An option.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// Its long name, without the dashes; empty when it has none.
    pub long: String,
    /// Its short name.
    pub short: Option<char>,
    /// What it does.
    pub help: String,
    /// What its value is; none for a switch.
    pub value: Option<Kind>,
    /// Whether it may be given more than once.
    pub many: bool,
    /// Where it is offered.
    pub place: Place,
}

/// Where an option is offered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Wherever an option can stand.
    Everywhere,
    /// As long as there is no action.
    Alone,
    /// With one of these actions.
    With(Vec<String>),
}

impl Place {
    pub(crate) fn fits(&self, action: Option<&str>) -> bool {
        match self {
            Self::Everywhere => true,
            Self::Alone => action.is_none(),
            // Before the action, which may be any.
            Self::With(actions) => action.is_none_or(|action| actions.iter().any(|a| a == action)),
        }
    }
}

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A package's name, or NAME/VERSION.
    Package,
    /// A package's version.
    Version,
    /// A kernel, or KERNEL/ARCH.
    Kernel,
    /// A kernel that another is to be like.
    Template,
    /// An architecture.
    Arch,
    /// A file.
    File,
    /// A folder.
    Folder,
    /// NAME=VALUE of a dkms.conf.
    Directive,
    /// What cannot be known, as numbers.
    Free,
}

impl Kind {
    /// By the name that a value has in a program's help.
    fn named(value: &str) -> Self {
        match value.split(['[', '|', '/']).next().unwrap_or_default() {
            "PACKAGE" | "NAME" => Self::Package,
            "KERNEL" => Self::Kernel,
            "FOLDER" => Self::Folder,
            "FILE" | "PATH" => Self::File,
            _ => Self::Free,
        }
    }
}

impl Grammar {
    /// Takes a program of clap's with its subcommands.
    #[must_use]
    pub fn of_program(mut program: clap::Command) -> Self {
        program.build();
        let mut grammar = Self::default();
        for command in program.get_subcommands() {
            grammar.add(command);
        }
        for argument in program.get_arguments() {
            let everywhere = argument.is_global_set() || argument.get_id() == "help";
            let place = if everywhere { Place::Everywhere } else { Place::Alone };
            grammar.options.extend(choice(argument, place));
        }
        grammar
    }

    /// Takes one more action with its options, as clap has it.
    pub fn add(&mut self, command: &clap::Command) {
        let word = command.get_name().to_owned();
        let own = command.get_arguments().filter(|a| !a.is_global_set() && a.get_id() != "help");
        for argument in own {
            self.options.extend(choice(argument, Place::With(vec![word.clone()])));
        }
        let operands = command.get_positionals().filter_map(|a| a.get_value_names()?.first()).map(|n| Kind::named(n));
        let paths = operands.fold(Paths::None, |paths, kind| match kind {
            Kind::Folder => Paths::Folders,
            Kind::File => Paths::Files,
            _ => paths,
        });
        let values = command.get_positionals().flat_map(clap::Arg::get_possible_values);
        let words = values.map(|value| (value.get_name().to_owned(), first_line(value.get_help()))).collect();
        self.actions.push(Action { word, help: first_line(command.get_about()), paths, words });
    }
}

/// None for what is no option, or is not shown.
fn choice(argument: &clap::Arg, place: Place) -> Option<Choice> {
    let (long, short) = (argument.get_long(), argument.get_short());
    if argument.is_hide_set() || long.is_none() && short.is_none() {
        return None;
    }
    let value = argument.get_action().takes_values().then(|| {
        let name = argument.get_value_names().and_then(<[_]>::first);
        name.map_or(Kind::Free, |name| Kind::named(name))
    });
    Some(Choice {
        long: long.unwrap_or_default().to_owned(),
        short,
        help: first_line(argument.get_help()),
        value,
        many: matches!(argument.get_action(), clap::ArgAction::Append | clap::ArgAction::Count),
        place,
    })
}

fn first_line(help: Option<&clap::builder::StyledStr>) -> String {
    help.map(ToString::to_string).unwrap_or_default().lines().next().unwrap_or_default().to_owned()
}

/// Which packages an action is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Packages {
    /// None.
    None,
    /// Every one in the tree, broken ones too.
    Any,
    /// Those whose source is there.
    Added,
    /// Those, and sources that would be added on the way.
    Buildable,
    /// Sources that are not in the tree.
    Sources,
    /// Built ones, on the kernels that were named.
    Built,
    /// Installed ones, likewise.
    Installed,
}

/// Which kernels an action is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kernels {
    /// Every one, and those that only the tree knows.
    Any,
    /// Those with headers.
    Buildable,
    /// Those that the packages are built for.
    Built,
    /// Those that they are installed on.
    Installed,
}

/// The packages and kernels that an action is about, by its name in either program.
pub(crate) fn about(action: Option<&str>) -> (Packages, Kernels) {
    match action.unwrap_or_default() {
        "add" => (Packages::Sources, Kernels::Any),
        "build" | "install" => (Packages::Buildable, Kernels::Buildable),
        "rebuild" => (Packages::Added, Kernels::Buildable),
        "uninstall" => (Packages::Installed, Kernels::Installed),
        "unbuild" => (Packages::Built, Kernels::Built),
        "remove" => (Packages::Any, Kernels::Built),
        "mktarball" => (Packages::Added, Kernels::Built),
        "status" | "logs" => (Packages::Any, Kernels::Any),
        "match" => (Packages::Installed, Kernels::Buildable),
        "lint" | "autoinstall" | "kernel_postinst" => (Packages::None, Kernels::Buildable),
        _ => (Packages::None, Kernels::Any),
    }
}
