import { SlipwayError } from '#shared/errors.ts'
import { runAny } from '../host/run.ts'
import { runStreamed } from '../host/run-streamed.ts'
import { type GitCredentials, masked } from './git-credentials.ts'

/** Where git works: a folder that it sees as `/tmp`, and how long all of it may take. */
export interface GitWork {
  folder: string
  signal: AbortSignal
}

/** Debian's `nobody`: ssh insists on a user with a name. */
export const GIT_USER = 65534
const COMMAND_MS = 30 * 60_000
/** Of one file that git writes, which a pack is. */
const MAX_FILE_BYTES = 16 * 1024 ** 3
const WHY_LIMIT = 1000

/**
 * Git as nobody, with no capability to gain, in mount and process namespaces of its own: the folder is `/tmp`, keys are in
 * a file system in memory that ends with it, and so does whatever git started.
 */
const SANDBOX = `set -e
mount --bind "$SLIPWAY_GIT_FOLDER" /tmp
mount -t tmpfs -o mode=0700,uid=${GIT_USER},gid=${GIT_USER},size=1m none /mnt
umask 077
if [ -n "$SLIPWAY_SSH_KEY" ]; then
  printf %s "$SLIPWAY_SSH_KEY" >/mnt/key
  printf %s "$SLIPWAY_SSH_HOSTS" >/mnt/known_hosts
  chown ${GIT_USER}:${GIT_USER} /mnt/key /mnt/known_hosts
fi
unset SLIPWAY_SSH_KEY SLIPWAY_SSH_HOSTS SLIPWAY_GIT_FOLDER
umask 022
cd /tmp
exec prlimit --fsize=${MAX_FILE_BYTES} --core=0 setpriv --reuid=${GIT_USER} --regid=${GIT_USER} --clear-groups --no-new-privs \\
  --inh-caps=-all --bounding-set=-all --pdeathsig=KILL git "$@"`

/** Ends with the agent, should that be killed, and git with it: the next agent removes what is left, and nothing writes there. */
const ISOLATED = [
  '--pdeathsig=KILL',
  'unshare',
  '--mount',
  '--propagation=private',
  '--pid',
  '--fork',
  '--kill-child',
  '--mount-proc',
]

/** Nothing of the host's configuration, of a repository's wishes or of a person at a terminal. */
const CONFIG: [key: string, value: string][] = [
  ['core.hooksPath', '/dev/null'],
  ['core.fsmonitor', 'false'],
  ['core.attributesFile', '/dev/null'],
  ['core.bigFileThreshold', '32m'], // Larger files are streamed, not held in memory.
  ['fetch.fsckObjects', 'true'],
  // Faults of old tools in the history of well-known repositories, which reach nothing here.
  ...['badTimezone', 'missingSpaceBeforeDate', 'zeroPaddedFilemode'].map((fault): [string, string] => [
    `fetch.fsck.${fault}`,
    'ignore',
  ]),
  ['fetch.unpackLimit', '1'],
  ['fetch.recurseSubmodules', 'false'],
  ['gc.auto', '0'],
  ['maintenance.auto', 'false'],
  ['http.followRedirects', 'false'], // An address that nobody named is not knocked at.
  ['http.lowSpeedLimit', '1000'],
  ['http.lowSpeedTime', '60'],
  ['advice.detachedHead', 'false'],
]

/** Runs git to its end and returns what it printed. Errors: `source.fetch-failed` with git's own words. */
export async function git(work: GitWork, credentials: GitCredentials, args: readonly string[]): Promise<string> {
  const options = { env: environment(work, credentials), timeoutMs: COMMAND_MS, signal: work.signal }
  const result = await runAny('setpriv', sandboxed(args), options)
  if (result.exitCode === 0) return result.stdout
  throw failed(args, masked(result.stderr, credentials.hidden))
}

/** What git prints, as it comes. Errors as `git`. */
export async function* gitStream(work: GitWork, args: readonly string[]): AsyncGenerator<Uint8Array> {
  const env = environment(work, { env: {}, config: [], hidden: [] })
  try {
    yield* runStreamed('setpriv', sandboxed(args), { env, timeoutMs: COMMAND_MS, signal: work.signal })
  } catch (error) {
    if (!(error instanceof SlipwayError) || typeof error.facts.stderr !== 'string') throw error
    throw failed(args, error.facts.stderr)
  }
}

function sandboxed(args: readonly string[]): string[] {
  return [...ISOLATED, 'sh', '-c', SANDBOX, 'git', ...args]
}

function environment({ folder }: GitWork, credentials: GitCredentials): Record<string, string> {
  const config = [...CONFIG, ...credentials.config].flatMap(([key, value], at) => [
    [`GIT_CONFIG_KEY_${at}`, key],
    [`GIT_CONFIG_VALUE_${at}`, value],
  ])
  const checks = credentials.env.SLIPWAY_SSH_HOSTS ? 'yes' : 'accept-new'
  const options = ['BatchMode=yes', `StrictHostKeyChecking=${checks}`, 'UserKnownHostsFile=/mnt/known_hosts']
  const hardened = [...options, 'GlobalKnownHostsFile=/dev/null', 'IdentitiesOnly=yes', 'ConnectTimeout=30']
  return {
    PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
    ...{ HOME: '/mnt', LC_ALL: 'C', SLIPWAY_GIT_FOLDER: folder },
    ...{ GIT_CONFIG_NOSYSTEM: '1', GIT_CONFIG_GLOBAL: '/dev/null', GIT_TERMINAL_PROMPT: '0', GIT_ASKPASS: '' },
    GIT_ALLOW_PROTOCOL: 'https:http:ssh:git',
    GIT_CONFIG_COUNT: String(CONFIG.length + credentials.config.length),
    ...Object.fromEntries(config),
    GIT_SSH_COMMAND: `ssh -F /dev/null -i /mnt/key ${hardened.map(option => `-o ${option}`).join(' ')}`,
    ...credentials.env,
  }
}

/** Git tells its reasons last. */
function failed(args: readonly string[], stderr: string): SlipwayError {
  const why = stderr.trim().slice(-WHY_LIMIT) || 'it said nothing'
  const command = args.find(arg => /^[a-z][a-z-]*$/.test(arg)) ?? 'command'
  return new SlipwayError('source.fetch-failed', `git ${command} failed: ${why}`)
}
