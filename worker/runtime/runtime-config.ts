import { DEFAULT_CAPABILITIES } from '#shared/domain/capabilities.ts'
import { commandOf } from '#shared/domain/command.ts'
import type { ContainerSpec } from '#shared/domain/container.ts'
import type { ImageDefaults } from '#shared/domain/image.ts'
import { SlipwayError } from '#shared/errors.ts'
import { initMount, underInit } from './init-program.ts'
import { MASKED_PATHS, READ_ONLY_PATHS, standardMounts } from './isolation.ts'
import type { OciRuntimeConfig, OciSeccomp } from './oci-config.ts'
import { type BlockDevice, ociResources, rlimits } from './resources.ts'
import type { ResolvedUser } from './user.ts'

export type ProcessSpec = Pick<ContainerSpec, 'entrypoint' | 'command' | 'env' | 'workdir'>

export interface RuntimeConfigInput {
  spec: ProcessSpec & Pick<ContainerSpec, 'resources' | 'isReadOnly' | 'tty'>
  image: ImageDefaults
  user: ResolvedUser
  rootfs: string
  /** Path of the network namespace; left out, the host's network is not shared but a new, empty one is made. */
  netns: string | undefined
  cgroupPath: string
  hostname: string
  /** Files of this container that lie over the image's: container path → host path. */
  files: Record<string, string>
  /** The host's init program, where the container is to have one. */
  init?: string | undefined
  /** Left out: every call is allowed, until it is confined. */
  seccomp?: OciSeccomp
  /** The host's own limit of open files, which no container may exceed. */
  maxOpenFiles: number
  /** The block devices that its limits name. */
  blockDevices?: ReadonlyMap<string, BlockDevice>
  /** False where the kernel counts no swap. */
  limitsSwap?: boolean
  /** Where it asks for none: the agent's own must not be passed on, which keeps the agent from being killed. */
  oomScoreAdj?: number
}

const DEFAULT_PATH = 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'

/** The runtime-spec 1.0 `config.json` of a container: a function of its spec, its image and its host. Pure. */
export function runtimeConfig(input: RuntimeConfigInput): OciRuntimeConfig {
  const { spec, image, user } = input
  const isRoot = user.uid === 0
  return {
    ociVersion: '1.0.2',
    process: {
      terminal: spec.tty ?? false,
      user: { uid: user.uid, gid: user.gid, additionalGids: user.additionalGids, umask: 0o022 },
      args: input.init === undefined ? processArgs(spec, image) : underInit(processArgs(spec, image)),
      env: processEnv(spec, image, user, [`HOSTNAME=${input.hostname}`, ...(spec.tty ? ['TERM=xterm'] : [])]),
      cwd: spec.workdir ?? (image.WorkingDir || '/'),
      // A user other than root gets none, as with Docker. noNewPrivileges keeps set-user-ID programs from getting any.
      capabilities: {
        bounding: DEFAULT_CAPABILITIES,
        effective: isRoot ? DEFAULT_CAPABILITIES : [],
        permitted: isRoot ? DEFAULT_CAPABILITIES : [],
      },
      rlimits: rlimits(spec.resources, input.maxOpenFiles),
      oomScoreAdj: spec.resources.oomScoreAdj ?? input.oomScoreAdj ?? 0,
      noNewPrivileges: true,
    },
    root: { path: input.rootfs, readonly: spec.isReadOnly },
    hostname: input.hostname,
    mounts: [
      ...standardMounts(spec.resources.shmSize),
      ...(input.init === undefined ? [] : [initMount(input.init)]),
      ...Object.entries(input.files).map(([destination, source]) => ({
        destination,
        source,
        type: 'bind',
        options: ['bind', 'rprivate', 'nosuid', 'nodev', 'noexec', ...(spec.isReadOnly ? ['ro'] : [])],
      })),
    ],
    linux: {
      cgroupsPath: input.cgroupPath,
      namespaces: [
        { type: 'pid' },
        { type: 'mount' },
        { type: 'uts' },
        { type: 'ipc' },
        { type: 'cgroup' },
        input.netns === undefined ? { type: 'network' } : { type: 'network', path: input.netns },
      ],
      resources: ociResources(spec.resources, input.blockDevices ?? new Map(), input.limitsSwap ?? true),
      sysctl: { 'net.ipv4.ip_unprivileged_port_start': '0', 'net.ipv4.ping_group_range': '0 2147483647' },
      maskedPaths: MASKED_PATHS,
      readonlyPaths: READ_ONLY_PATHS,
      ...(input.seccomp ? { seccomp: input.seccomp } : {}),
      rootfsPropagation: 'private',
    },
  }
}

/** Errors: `container.command-missing`. */
export function processArgs(spec: Pick<ProcessSpec, 'entrypoint' | 'command'>, image: ImageDefaults): string[] {
  const args = commandOf(spec, image)
  if (args.length > 0) return args
  throw new SlipwayError('container.command-missing', 'The image names no command: give the container one.')
}

/** Later settings of a name win: defaults, the image's, the container's own. */
function processEnv(spec: ProcessSpec, image: ImageDefaults, user: ResolvedUser, host: readonly string[]): string[] {
  const merged = new Map<string, string>()
  const all = [DEFAULT_PATH, ...host, `HOME=${user.home}`, ...(image.Env ?? []), ...spec.env]
  for (const entry of all) {
    const at = entry.indexOf('=')
    merged.set(at < 0 ? entry : entry.slice(0, at), at < 0 ? '' : entry.slice(at + 1))
  }
  return [...merged].map(([name, value]) => `${name}=${value}`)
}
