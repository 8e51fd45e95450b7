# The Debian packages that building, testing and checking need, and their installation. Sourced by bash scripts.

packages_build="g++ cmake ninja-build pkg-config binutils libfmt-dev libspdlog-dev nlohmann-json3-dev libcli11-dev
  libpng-dev libjpeg-dev libwebp-dev libssl-dev libpcre2-dev libutf8proc-dev"
packages_test="libgtest-dev python3"
packages_check="clang clang-format clang-tidy libclang-rt-14-dev qemu-user git"

# install_packages NAME...: installs those that are missing, through sudo when not root; says what it does.
install_packages() {
  local missing=() name
  for name in "$@"; do
    if [ "$(dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null)" != installed ]; then missing+=("$name"); fi
  done
  if [ "${#missing[@]}" -eq 0 ]; then return 0; fi
  local as_root=()
  if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null; then
      echo "Missing packages, and neither root nor sudo to install them: ${missing[*]}" >&2
      return 1
    fi
    as_root=(sudo)
  fi
  echo "Installing ${missing[*]} with apt${as_root:+ through sudo}" >&2
  # The lists of a fresh machine are empty or old; where they are good, this first attempt saves the update.
  if ! "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends \
      "${missing[@]}" >&2; then
    "${as_root[@]}" apt-get update -q >&2
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends \
      "${missing[@]}" >&2
  fi
}

# Two jobs at least: compilers wait for the disk now and then.
build_jobs() { local n; n=$(nproc); if [ "$n" -lt 2 ]; then n=2; fi; echo "$n"; }
