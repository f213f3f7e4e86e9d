# Sourced by the zsh under test: what is offered goes to $LOG; Ctrl-X puts the line there, behind "=".
PS1= PS2= RPS1= PROMPT_EOL_MARK=
fpath=($SCRIPTS/zsh/$PLACE $fpath)
autoload -Uz compinit
compinit -u -D
compadd() {
    # Calls that only compute pass.
    if [[ ${@[1,(i)(-|--)]} == *-(O|A|D)\ * ]]; then builtin compadd "$@"; return; fi
    local -a hits
    builtin compadd -A hits "$@"
    (($#hits)) && print -rl -- $IPREFIX$^hits >> $LOG
    builtin compadd "$@"
}
show() {
    print -r -- "=$BUFFER" >> $LOG
    BUFFER=
    print DONE
}
zle -N show
bindkey '^X' show
bindkey '^I' complete-word
