# drive.zsh FOLDER SHELL LINE: types LINE and a TAB into an interactive zsh or bash that has the completion scripts of
# FOLDER, found as LINE's program (bash) or in Debian's place (zsh) would be. Prints the words that were offered, then,
# behind "=", what the line has become.
zmodload zsh/zpty
export SCRIPTS=$1 LOG=$(mktemp) TERM=dumb
case $2 in
    zsh) export PLACE=vendor-completions && zpty shell zsh -f -i ;;
    bash) export PLACE=${3%% *} && zpty shell bash --norc --noprofile -i ;;
esac
zpty -w shell "source ${(q)0:h}/setup.$2; echo REA''DY"
zpty -r shell out '*READY*'
zpty -w -n shell $3$'\t\C-x'
zpty -r shell out '*DONE*'
zpty -d shell
cat $LOG
rm -f $LOG
