#!/bin/bash
# Packs a model of handler_factory into NAME.mar, in the current directory. docs/handler-factory.md says what each file is.
#
# The archives that system.extraFiles of the model-config names are unpacked here already, so that the handler file can import
# from them in its first line. PYTHON is an interpreter that has persia-serve.

set -u
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

display_usage() {
    echo "Usage: $0 --model_name <model_name> --model_file <model_file> --config_file <config_file>" \
        "--requirements_file <requirements_file> --checkpoint_file <checkpoint_file> --version <version>" \
        "[--extra_files <extra_files>]"
}

model_name='' model_file='' config_file='' requirements_file='' checkpoint_file='' version='' extra_files=''
while (($# > 0)); do
    case "$1" in
        --model_name | --model_file | --config_file | --requirements_file | --checkpoint_file | --version | --extra_files)
            if (($# < 2)); then
                display_usage
                exit 1
            fi
            printf -v "${1#--}" '%s' "$2"
            shift 2
            ;;
        *)
            display_usage
            exit 1
            ;;
    esac
done

for argument in "$model_name" "$model_file" "$config_file" "$requirements_file" "$checkpoint_file" "$version"; do
    if [[ -z $argument ]]; then
        echo "Error: All arguments must be provided"
        display_usage
        exit 1
    fi
done

# Says which file is missing, and ends, as the archiver would with a stack of calls.
require_file() {
    if [[ ! -f $2 ]]; then
        echo "Error: expected a file as $1, got $2, which is not there (in $PWD)"
        exit 1
    fi
}

require_file --model_file "$model_file"
require_file --config_file "$config_file"
require_file --requirements_file "$requirements_file"
require_file --checkpoint_file "$checkpoint_file"
extra_paths=()
IFS=, read -ra given <<<"$extra_files"
for path in "${given[@]}"; do
    read -r path <<<"$path" # without the blanks around a comma
    if [[ -n $path ]]; then
        require_file --extra_files "$path"
        extra_paths+=("$path")
    fi
done

echo "Building MAR with the following configuration....."
echo "-------------------"
echo "TorchServe model / MAR file name: $model_name"
echo "Model / MAR version: $version"
echo "Model code file: $model_file"
echo "TorchServe model config file: $config_file"
echo "Model requirements file: $requirements_file"
echo "Model checkpoint file: $checkpoint_file"
if [[ -n $extra_files ]]; then
    echo "Extra files: $extra_files"
fi
echo "-------------------"

python=${PYTHON:-python3}
if ! "$python" -c 'import persia.handlers.factory' 2>/dev/null; then
    echo "Error: $python has no persia-serve: activate its environment, or set PYTHON to its interpreter"
    exit 1
fi
scratch=$(mktemp -d) || exit 1
trap 'rm -rf "$scratch"' EXIT
unpacked=$scratch/unpacked
mkdir "$unpacked"
"$python" -m persia.handlers.factory.extra_files --config "$config_file" --into "$unpacked" -- \
    ${extra_paths[@]+"${extra_paths[@]}"} || exit 1
# The archiver lets extra files win over the handler's.
rm -f "$unpacked/base_handler.py" "$unpacked/$(basename "$model_file")"
if [[ -n $(ls -A "$unpacked") ]]; then
    extra_paths+=("$unpacked")
fi

options=(-f --model-name "$model_name" --version "$version" --handler "$model_file" --serialized-file "$checkpoint_file"
    --runtime python3 --requirements-file "$requirements_file" --model-file "$here/base_handler.py" --config-file "$config_file")
if ((${#extra_paths[@]} > 0)); then
    joined=$(IFS=, && echo "${extra_paths[*]}")
    options+=(--extra-files "$joined")
fi
# The archiver empties a folder of the model's name in the folder for temporary files.
TMPDIR=$scratch torch-model-archiver "${options[@]}" || exit 1
echo "Wrote $PWD/$model_name.mar: $model_name $version, $(wc -c <"$model_name.mar" | tr -d ' ') bytes"
