# Sourced by the bash under test: what is offered goes to $LOG; Ctrl-X puts the line there, behind "=".
PS1='' PS2=''
# shellcheck source=/dev/null
source "$SCRIPTS/bash-completion/completions/$PLACE"
offered() {
    _dkms "$@"
    ((${#COMPREPLY[@]})) && printf '%s\n' "${COMPREPLY[@]}" >> "$LOG"
}
complete -F offered dkms dkmsctl
show() {
    printf '=%s\n' "$READLINE_LINE" >> "$LOG"
    READLINE_LINE=''
    echo DONE
}
bind -x '"\C-x": show'
bind 'set bell-style none'
