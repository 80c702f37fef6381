import { ALL, capabilityOf } from '#shared/domain/capabilities.ts'
import { type Device, type SecretFile, type Security, securitySchema } from '#shared/domain/security.ts'
import { parseDevice } from '#shared/protocol/container-security.ts'
import type { CreateContainer } from '#shared/protocol/containers.ts'
import { invalid, withoutNothing } from './container-limits.ts'

type Asked = Omit<CreateContainer, 'image'>

const SECRET = { uid: 0, gid: 0, mode: 0o444 }

/** What was asked for as a spec has it; undefined: all defaults. Errors: `request.invalid`. Pure. */
export function security(asked: Asked): Security | undefined {
  refuseContradictions(asked)
  const given = withoutNothing({
    capAdd: filled(capabilities(asked.capAdd)),
    capDrop: filled(capabilities(asked.capDrop)),
    seccomp: asked.seccomp === 'default' ? undefined : asked.seccomp,
    noNewPrivileges: asked.noNewPrivileges === false ? false : undefined,
    privileged: asked.privileged || undefined,
    systemPaths: asked.systemPaths === 'unconfined' ? asked.systemPaths : undefined,
    apparmor: asked.apparmor === 'default' ? undefined : asked.apparmor,
    userns: asked.userns === 'auto' ? asked.userns : undefined,
    groupAdd: filled((asked.groupAdd ?? []).map(String)),
    devices: filled((asked.devices ?? []).map(device)),
    deviceCgroupRules: filled(asked.deviceCgroupRules ?? []),
    sysctls: texts(asked.sysctls),
    tmpfs: texts(asked.tmpfs),
    secrets: filled((asked.secrets ?? []).map(secretFile)),
  })
  refuseTwice(
    'secrets',
    (given.secrets ?? []).map(({ file }) => file),
  )
  refuseTwice(
    'devices',
    (given.devices ?? []).map(({ path }) => path),
  )
  return Object.keys(given).length > 0 ? securitySchema.parse(given) : undefined
}

function refuseContradictions({ privileged, userns, devices, tmpfs, secrets }: Asked): void {
  if (privileged && userns === 'auto') {
    throw invalid(
      'userns',
      'auto keeps a container from being root of the host, which privileged is: give one of them.',
    )
  }
  if (userns === 'auto' && (devices ?? []).length > 0) {
    throw invalid('devices', "belong to the host's root, which a container with userns auto is not: give one of them.")
  }
  if ((secrets ?? []).length > 0 && Object.keys(tmpfs ?? {}).some(path => /^\/run\/secrets(\/|$)/.test(path))) {
    throw invalid('tmpfs', 'would hide /run/secrets, where "secrets" are: choose another path.')
  }
}

function capabilities(names: readonly string[] = []): string[] {
  const known = new Set(names.flatMap(name => capabilityOf(name) ?? []))
  return [...known].sort((a, b) => Number(b === ALL) - Number(a === ALL) || a.localeCompare(b))
}

function device(asked: string | Device): Device {
  const parsed = typeof asked === 'string' ? parseDevice(asked) : asked
  if (parsed) return parsed
  throw invalid('devices', `${JSON.stringify(asked)} is not /dev/x[:/dev/y][:rwm].`)
}

function secretFile(asked: NonNullable<Asked['secrets']>[number]): SecretFile {
  if (typeof asked === 'string') return { name: asked, file: asked, ...SECRET }
  const { name, file = name, uid = SECRET.uid, gid = SECRET.gid, mode = SECRET.mode } = asked
  return { name, file, uid, gid, mode: typeof mode === 'string' ? Number.parseInt(mode, 8) : mode }
}

function texts(record: Record<string, string | number> = {}): Record<string, string> | undefined {
  const entries = Object.entries(record).map(([key, value]) => [key, String(value)])
  return entries.length > 0 ? Object.fromEntries(entries) : undefined
}

function filled<T>(list: T[]): T[] | undefined {
  return list.length > 0 ? list : undefined
}

function refuseTwice(field: string, names: readonly string[]): void {
  const twice = names.find((name, at) => names.indexOf(name) !== at)
  if (twice !== undefined) throw invalid(field, `has ${twice} twice: name it once.`)
}
