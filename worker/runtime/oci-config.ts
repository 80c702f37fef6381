/** The part of runtime-spec 1.0's `config.json` that Slipway writes (config.md, config-linux.md). */
export interface OciRuntimeConfig {
  ociVersion: string
  process: {
    terminal: boolean
    consoleSize?: { height: number; width: number }
    user: { uid: number; gid: number; additionalGids: readonly number[]; umask: number }
    args: readonly string[]
    env: readonly string[]
    cwd: string
    capabilities: OciCapabilities
    rlimits: readonly OciRlimit[]
    noNewPrivileges: boolean
    oomScoreAdj?: number
    apparmorProfile?: string
  }
  root: { path: string; readonly: boolean }
  hostname: string
  annotations?: Record<string, string>
  mounts: readonly OciMount[]
  linux: {
    cgroupsPath: string
    namespaces: readonly { type: string; path?: string }[]
    resources: OciResources
    sysctl: Record<string, string>
    maskedPaths: readonly string[]
    readonlyPaths: readonly string[]
    /** Left out: every call is allowed. */
    seccomp?: OciSeccomp
    devices?: readonly OciDevice[]
    uidMappings?: readonly OciIdMapping[]
    gidMappings?: readonly OciIdMapping[]
    rootfsPropagation: string
  }
}

export interface OciCapabilities {
  bounding: readonly string[]
  effective: readonly string[]
  permitted: readonly string[]
  inheritable?: readonly string[]
  ambient?: readonly string[]
}

export interface OciRlimit {
  type: string
  hard: number
  soft: number
}

export interface OciIdMapping {
  containerID: number
  hostID: number
  size: number
}

export interface OciDevice {
  path: string
  type: string
  major: number
  minor: number
  fileMode: number
  uid: number
  gid: number
}

export interface OciMount {
  destination: string
  source: string
  type: string
  options: readonly string[]
}

export interface OciDeviceRule {
  allow: boolean
  access: string
  type?: string
  major?: number
  minor?: number
}

export interface OciResources {
  devices: readonly OciDeviceRule[]
  pids: { limit: number }
  memory?: {
    limit: number | undefined
    swap: number | undefined
    reservation: number | undefined
    swappiness: number | undefined
    disableOOMKiller: true | undefined
  }
  cpu?: {
    shares: number | undefined
    period: number | undefined
    quota: number | undefined
    cpus: string | undefined
    mems: string | undefined
  }
  blockIO?: OciBlockIo
}

type OciRates = readonly { major: number; minor: number; rate: number }[] | undefined
export interface OciBlockIo {
  weight: number | undefined
  throttleReadBpsDevice: OciRates
  throttleWriteBpsDevice: OciRates
  throttleReadIOPSDevice: OciRates
  throttleWriteIOPSDevice: OciRates
}

export interface OciSeccomp {
  defaultAction: string
  defaultErrnoRet?: number
  architectures: string[]
  syscalls: OciSyscall[]
}

export interface OciSyscall {
  names: string[]
  action: string
  errnoRet?: number
  args?: { index: number; value: number; valueTwo: number; op: string }[]
}
