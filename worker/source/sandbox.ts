/** Where a program works that talks to strangers: a folder of its own, that it sees as `/tmp`. */
export interface Sandbox {
  /** `SANDBOX_USER` owns it. */
  folder: string
  signal: AbortSignal
  /** A program with arguments that leads into another network, to run ours behind; left out: the host's. */
  enter?: readonly string[] | undefined
  /** For one command of git's; left out: half an hour. */
  commandMs?: number
}

/** Debian's `nobody`: ssh insists on a user with a name. */
export const SANDBOX_USER = 65534
/** Of one file, which a pack or a download is. */
export const MAX_FILE_BYTES = 16 * 1024 ** 3

/**
 * A program as nobody, with no capability to gain, in mount and process namespaces of its own: the folder is `/tmp`, keys are in
 * a file system in memory that ends with it, and so does whatever the program started.
 */
const SANDBOX = `set -e
mount --bind "$SLIPWAY_FOLDER" /tmp
mount -t tmpfs -o mode=0700,uid=${SANDBOX_USER},gid=${SANDBOX_USER},size=1m none /mnt
umask 077
if [ -n "$SLIPWAY_SSH_KEY" ]; then
  printf %s "$SLIPWAY_SSH_KEY" >/mnt/key
  printf %s "$SLIPWAY_SSH_HOSTS" >/mnt/known_hosts
  chown ${SANDBOX_USER}:${SANDBOX_USER} /mnt/key /mnt/known_hosts
fi
unset SLIPWAY_SSH_KEY SLIPWAY_SSH_HOSTS SLIPWAY_FOLDER
umask 022
cd /tmp
exec prlimit --fsize=${MAX_FILE_BYTES} --core=0 setpriv --reuid=${SANDBOX_USER} --regid=${SANDBOX_USER} --clear-groups \\
  --no-new-privs --inh-caps=-all --bounding-set=-all --pdeathsig=KILL "$0" "$@"`

/** Ends with the agent, should that be killed, and the program with it: the next agent removes what is left, and nothing writes there. */
const ISOLATED = [
  ...['setpriv', '--pdeathsig=KILL', 'unshare', '--mount', '--propagation=private'],
  ...['--pid', '--fork', '--kill-child', '--mount-proc', 'sh', '-c', SANDBOX],
]

/** How to run a program so, with no variables but these. `SLIPWAY_SSH_KEY` and `SLIPWAY_SSH_HOSTS` become files. Pure. */
export function sandboxed(
  { folder, enter = [] }: Sandbox,
  program: string,
  args: readonly string[],
  env: Record<string, string>,
): { program: string; args: string[]; env: Record<string, string> } {
  const [first = '', ...rest] = [...enter, ...ISOLATED, program, ...args]
  const PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'
  return { program: first, args: rest, env: { PATH, HOME: '/mnt', LC_ALL: 'C', SLIPWAY_FOLDER: folder, ...env } }
}
