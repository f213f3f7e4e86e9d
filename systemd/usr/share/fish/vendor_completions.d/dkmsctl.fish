# fish completion for dkmsctl; looked for by the program's name.
source (dirname (status filename))/dkms.fish
