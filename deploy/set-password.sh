#!/usr/bin/env bash
# Give the account $1 the password that the standard input's first line is; make the account if it is not there.
# `set-password.sh --remove NAME` takes it away. The gateways see it within seconds; nothing has to be restarted.
# The hash (bcrypt) is made by htpasswd, or by perl where the C library knows bcrypt, as most of Linux' do.
set -euo pipefail

fail() {
  echo "set-password.sh: $1" >&2
  exit 1
}

remove=
if [[ ${1:-} == --remove ]]; then
  remove=1
  shift
fi
[[ $# -eq 1 ]] || fail "say which account: set-password.sh [--remove] NAME"
name=$1
[[ $name =~ ^[A-Za-z0-9][A-Za-z0-9._@-]*$ ]] || fail "not a name of letters, digits and . _ @ -"

# The folder is its owner's alone. What is below it can be read by whoever runs in the gateway's container.
folder=$(dirname "$0")/secrets
(umask 077 && mkdir -p "$folder")
umask 022
mkdir -p "$folder/accounts"
file=$folder/accounts/htpasswd

hashed() {
  if command -v htpasswd >/dev/null; then
    htpasswd -niBC 10 "$name" <<<"$1" | sed -n 1p
  elif command -v perl >/dev/null; then
    perl -e '
      my ($name, $password) = ($ARGV[0], scalar <STDIN>);
      chomp $password;
      my @digits = ("." , "/", "A".."Z", "a".."z", "0".."9");
      open(my $random, "<:raw", "/dev/urandom") or die "$!";
      read($random, my $bytes, 21) == 21 or die "short read";
      # 21 digits of six bits, and one of the four that a 16 byte salt can end with.
      my $salt = join("", map { $digits[$_ & 63] } unpack("C*", $bytes)) . "O";
      my $hash = crypt($password, "\$2b\$10\$$salt");
      print "$name:$hash\n" if defined $hash and $hash =~ /^\$2b\$10\$.{53}$/;
    ' "$name" <<<"$1"
  fi
}

new=$(mktemp "$file.XXXXXX")
trap 'rm -f "$new"' EXIT
[[ ! -e $file ]] || awk -F: -v name="$name" '$1 != name' "$file" >"$new"
if [[ -n $remove ]]; then
  [[ -e $file ]] && ! cmp -s "$file" "$new" || fail "there is no account $name"
else
  IFS= read -r password || fail "the password is read from the standard input"
  # bcrypt takes no notice of what comes after 72 bytes.
  bytes=$(LC_ALL=C && echo "${#password}")
  ((bytes >= 8 && bytes <= 72)) || fail "a password has 8 to 72 bytes"
  line=$(hashed "$password")
  [[ -n $line ]] || fail "no bcrypt here: install htpasswd (in Debian's apache2-utils)"
  echo "$line" >>"$new"
fi
chmod 0644 "$new"
mv "$new" "$file"
