#!/bin/sh
# archiver as the user of the service, with the key, which only root can read: docs/operations.md. Completion
# never asks for a password. The file "environment" is read as systemd reads it (EnvironmentFile in
# systemd.exec(5)): nothing in it is evaluated. Names that begin with _ are those of this script.
exec sudo ${_ARCHIVER_COMPLETE:+-n} \
    --preserve-env=_ARCHIVER_COMPLETE,COMP_LINE,COMP_WORD,COMP_WORDS,COMP_CWORD sh -c '
    _end="
"
    _quote=$(printf "\047") _in=start _name= _value= _text=
    [ ! -e /etc/archiver/environment ] || _text=$(cat /etc/archiver/environment)$_end
    while [ "$_text" ]; do
        _rest=${_text#?} _c=${_text%"${_text#?}"} _text=$_rest
        case $_in in
        start)
            case $_c in
            [\#\;]) _in=comment ;;
            [![:space:]]) _in=name _name=$_c _value= ;;
            esac ;;
        comment) [ "$_c" != "$_end" ] || _in=start ;;
        name)
            case $_c in
            =) _in=before ;;
            "$_end") _in=start ;;
            *) _name=$_name$_c ;;
            esac ;;
        before | value)
            case $_in$_c in
            *"$_end")
                [ $_in = before ] || _value=${_value%"${_value##*[![:space:]]}"}
                _name=${_name%"${_name##*[![:space:]]}"} _in=start
                case $_name in
                [0-9_]* | *[!A-Za-z0-9_]*) ;;
                *) export "$_name=$_value" ;;
                esac ;;
            before[[:space:]]) ;;
            before"$_quote") _in=single ;;
            before\") _in=double ;;
            *\\) _in=escape ;;
            *) _in=value _value=$_value$_c ;;
            esac ;;
        escape)
            _in=value
            [ "$_c" = "$_end" ] || _value=$_value$_c ;;
        single) if [ "$_c" = "$_quote" ]; then _in=before; else _value=$_value$_c; fi ;;
        double)
            case $_c in
            \") _in=before ;;
            \\) _in=double_escape ;;
            *) _value=$_value$_c ;;
            esac ;;
        double_escape)
            _in=double
            case $_c in
            [\"\\\`\$]) _value=$_value$_c ;;
            "$_end") ;;
            *) _value=$_value\\$_c ;;
            esac ;;
        esac
    done
    export HIKERAPI_TOKEN="$(cat /etc/archiver/key)" ARCHIVER_CONFIG=/etc/archiver/config.toml
    export PATH="/opt/archiver/bin:$PATH"
    exec runuser -u archiver -- archiver "$@"
' sh "$@"
