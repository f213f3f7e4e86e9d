# fish completion for dkms and dkmsctl. What fits, the programs know themselves: PROGRAM --complete WORD…

function __dkms_complete
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    set -lx PATH $PATH /usr/local/sbin /usr/sbin /sbin
    set -l program (string replace -r '.*/' '' -- $words[1])
    set -l offered (command $program --complete $words[2..] "$current" 2>/dev/null)
    printf '%s\n' $offered[2..]
    # Paths as fish knows them, behind what stands before them.
    set -l option (string match -r '^--[^=]*=' -- $current)
    set -l path (string replace -r '^--[^=]*=' '' -- $current)
    switch "$offered[1]"
        case files
            printf "$option%s\n" (__fish_complete_path "$path")
        case folders
            printf "$option%s\n" (__fish_complete_directories "$path" '')
    end
end

complete -c dkms -f -a '(__dkms_complete)'
complete -c dkmsctl -f -a '(__dkms_complete)'
