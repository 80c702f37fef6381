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
    capabilities: { bounding: readonly string[]; effective: readonly string[]; permitted: readonly string[] }
    rlimits: readonly { type: string; hard: number; soft: number }[]
    noNewPrivileges: boolean
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
    seccomp: OciSeccomp
    rootfsPropagation: string
  }
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
  memory?: { limit: number; swap: number }
  cpu?: { period: number; quota: number }
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
