import { defineVerb, EXIT } from '../command.ts';

/**
 * Completion scripts ask `halo __complete WORDS...` and show what it prints: a word a line with its meaning behind a
 * tab, and `:files` or `:folders` where names of files belong. So the option tables are the only source.
 */
const SCRIPTS: ReadonlyMap<string, string> = new Map([
  [
    'bash',
    String.raw`# halo completion for bash: source <(halo completion bash)
_halo() {
  local word line current prefix merged=()
  # bash cuts words at "=" and ":"; put them together again.
  for word in "\${COMP_WORDS[@]:1:COMP_CWORD}"; do
    if [[ \${#merged[@]} -gt 0 && ( $word == [=:]* || \${merged[-1]} == *[=:] ) ]]; then
      merged[-1]+=$word
    else
      merged+=("$word")
    fi
  done
  current=\${merged[-1]}
  # Only what follows the last cut is bash's current word.
  prefix=\${current%"\${current##*[=:]}"}
  COMPREPLY=()
  while IFS= read -r line; do
    case $line in
      :files) compopt -o filenames; mapfile -t -O "\${#COMPREPLY[@]}" COMPREPLY < <(compgen -f -- "\${current#"$prefix"}") ;;
      :folders) compopt -o filenames; mapfile -t -O "\${#COMPREPLY[@]}" COMPREPLY < <(compgen -d -- "\${current#"$prefix"}") ;;
      *) line=\${line%%$'\t'*}; COMPREPLY+=("\${line#"$prefix"}") ;;
    esac
  done < <("\${COMP_WORDS[0]}" __complete -- "\${merged[@]}" 2>/dev/null)
}
complete -F _halo halo
`,
  ],
  [
    'zsh',
    String.raw`#compdef halo
# halo completion for zsh: source <(halo completion zsh), or save it as _halo in a folder of fpath
_halo() {
  local line word
  local -a candidates
  while IFS= read -r line; do
    case $line in
      :files) _files ;;
      :folders) _files -/ ;;
      *)
        word=\${line%%$'\t'*}
        candidates+=("\${word//:/\\:}:\${line#*$'\t'}")
        ;;
    esac
  done < <("\${words[1]}" __complete -- "\${(@)words[2,CURRENT]}" 2>/dev/null)
  if (( $#candidates )); then _describe halo candidates; fi
}
if [[ \${funcstack[1]} == _halo ]]; then _halo "$@"; else compdef _halo halo; fi
`,
  ],
  [
    'fish',
    String.raw`# halo completion for fish: halo completion fish | source
function __halo_complete
  set -l before (commandline -opc)
  set -l current (commandline -ct)
  for line in ($before[1] __complete -- $before[2..] "$current" 2>/dev/null)
    switch $line
      case ':files'
        __fish_complete_path "$current"
      case ':folders'
        __fish_complete_directories "$current"
      case '*'
        echo $line
    end
  end
end
complete -c halo -f -a '(__halo_complete)'
`,
  ],
]);

export const completion = defineVerb({
  name: 'completion',
  group: 'Other',
  summary: 'Print the completion script of a shell',
  details: `Examples:
  source <(halo completion bash)         # also in ~/.bashrc
  source <(halo completion zsh)          # also in ~/.zshrc
  halo completion fish > ~/.config/fish/completions/halo.fish`,
  arguments: [{ name: 'SHELL', summary: 'which one', choices: [...SCRIPTS.keys()] }],
  options: {},
  run({ arguments: [shell = ''], terminal }) {
    terminal.out((SCRIPTS.get(shell) ?? '').replaceAll('\\${', '${'));
    return Promise.resolve(EXIT.ok);
  },
});
