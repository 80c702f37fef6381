import { z } from 'zod'
import { ALL_CAPABILITIES, capabilityOf } from '../domain/capabilities.ts'
import { SECCOMP_ACTIONS, SECCOMP_PROFILE_LIMIT, seccompProfileSchema } from '../domain/seccomp-profile.ts'
import { secretNameSchema } from '../domain/secret.ts'
import { type deviceSchema, secretFileSchema } from '../domain/security.ts'
import { namedRecord } from './named-record.ts'

const said = <T extends z.ZodType>(schema: T, description: string) => schema.optional().meta({ description })

const NAMES = ALL_CAPABILITIES.map(name => name.slice('CAP_'.length)).join(', ')
const capabilitiesSchema = z
  .array(z.string().refine(name => capabilityOf(name) !== undefined, `a capability: ALL, ${NAMES}`))
  .max(64)

const ACCESS = /^r?w?m?$/
const PATH = /^\/(?!.*\/\.\.?(\/|$))[^\0:]{1,255}$/
/** `/dev/x[:/dev/y][:rwm]`, as `docker run --device` takes it. Undefined: it is none. Pure. */
export function parseDevice(text: string): z.infer<typeof deviceSchema> | undefined {
  const [hostPath = '', second, third, ...more] = text.split(':')
  const isAccess = second !== undefined && third === undefined && !second.startsWith('/')
  const path = second === undefined || isAccess ? hostPath : second
  const access = (isAccess ? second : third) ?? 'rwm'
  const isRight = PATH.test(hostPath) && PATH.test(path) && path.startsWith('/dev/') && access !== ''
  return isRight && ACCESS.test(access) && more.length === 0 ? { hostPath, path, access } : undefined
}
const DEVICE_FORM = '/dev/x[:/dev/y][:rwm]'
const askedDeviceSchema = z.union(
  [
    z.string().refine(text => parseDevice(text) !== undefined, DEVICE_FORM),
    z.strictObject({
      hostPath: z.string().regex(PATH),
      path: z.string().regex(PATH).startsWith('/dev/'),
      access: z.string().min(1).regex(ACCESS),
    }),
  ],
  DEVICE_FORM,
)

const RULE = /^[abc] (\*|\d{1,7}):(\*|\d{1,7}) (r?w?m?)$/
const ruleSchema = z
  .string()
  .refine(text => (RULE.exec(text)?.[3] ?? '') !== '', 'a rule such as "c 1:3 rwm": type, MAJOR:MINOR or *, access')

/** Of the namespaces that a container has for itself: Docker's list, which the kernel keeps apart. */
const SYSCTL = /^(kernel\.(shm[a-z_]+|msg[a-z_]+|sem)|fs\.mqueue\.[a-z_]+|net\.[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)+)$/
const sysctlsSchema = namedRecord(
  name => SYSCTL.test(name),
  'is not of the container alone: kernel.shm*, kernel.msg*, kernel.sem, fs.mqueue.* and net.* are',
  z.union([z.string().regex(/^[^\0\n]{1,256}$/, 'a text of one line'), z.int()]),
  128,
)

const OPTION =
  /^((no)?(exec|suid|dev|atime|diratime)|rw|ro|relatime|strictatime|size=\d{1,15}[kmg%]?|nr_inodes=\d{1,9}[kmg]?|mode=[0-7]{3,4}|uid=\d{1,10}|gid=\d{1,10})$/i
const RESERVED = /^\/(proc|sys|dev)(\/|$)/
const MOUNT_PATH = /^(\/(?!\.\.?(\/|$))[^/\0]+)+$/
const tmpfsSchema = namedRecord(
  path => path.length <= 4096 && MOUNT_PATH.test(path) && !RESERVED.test(path),
  'an absolute path without . and .., not below /proc, /sys or /dev, which are mounts already; see shmSize',
  z
    .string()
    .max(1024)
    .refine(
      text => text === '' || text.split(',').every(option => OPTION.test(option)),
      'options of tmpfs with commas: size=64m, mode=1777, uid=, gid=, nr_inodes=, noexec, nosuid, nodev, exec, suid, dev, ro, rw',
    ),
  64,
)

const { uid, gid, mode } = secretFileSchema.shape
const askedSecretSchema = z.union(
  [
    secretNameSchema,
    z.strictObject({
      name: secretNameSchema,
      file: secretNameSchema.optional(),
      uid: uid.optional(),
      gid: gid.optional(),
      mode: z
        .union([mode, z.string().regex(/^0?[0-7]{3}$/, 'three octal digits, such as 0400')])
        .optional()
        .meta({ description: 'As octal digits in a string, "0400", or as a number' }),
    }),
  ],
  'the name of a secret, or {name, file?, uid?, gid?, mode?}',
)

const isOfASize = (profile: unknown) => JSON.stringify(profile).length <= SECCOMP_PROFILE_LIMIT
const tooLarge = `a profile of at most ${SECCOMP_PROFILE_LIMIT / 1024} KiB`

const SECCOMP_FORM = `default, unconfined, or a profile {defaultAction, syscalls: [{names, action, …}]} with actions ${SECCOMP_ACTIONS.join(', ')}`
const GROUP_FORM = 'a group of the image, or a number'

/** How a container of `POST /v1/containers` is confined, named as the options of `docker run`. */
export const askedSecurity = {
  capAdd: said(
    capabilitiesSchema,
    'Capabilities besides Docker\'s default ones, or ALL. Asks for "containers:privileged".',
  ),
  capDrop: said(capabilitiesSchema, 'Capabilities that it does not have, or ALL; what capAdd names is kept.'),
  seccomp: said(
    z.union([z.enum(['default', 'unconfined']), seccompProfileSchema.refine(isOfASize, tooLarge)], SECCOMP_FORM),
    'default, or with "containers:privileged" unconfined or a profile in Docker\'s form, as JSON.',
  ),
  noNewPrivileges: said(
    z.boolean(),
    'true (the default; Docker has false): set-user-ID programs, such as sudo, gain nothing.',
  ),
  privileged: said(
    z.boolean(),
    'All capabilities and devices, nothing of /proc and /sys hidden, no seccomp, no AppArmor: root of the host. Asks for "containers:privileged", and a host that allows it.',
  ),
  systemPaths: said(
    z.enum(['default', 'unconfined']),
    'unconfined: nothing of /proc and /sys is hidden or write-protected. Asks for "containers:privileged".',
  ),
  apparmor: said(
    z.string().regex(/^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$/, 'default, unconfined or the name of a profile'),
    'default, or with "containers:privileged" unconfined or a profile that the host has loaded.',
  ),
  userns: said(
    z.enum(['host', 'auto']),
    "auto: a private range of ids, so that its root is nobody on the host. Left out: the host's ids.",
  ),
  groupAdd: said(
    z
      .array(
        z.union(
          [
            z.string().regex(/^[^:,\0\s]{1,64}$/, GROUP_FORM),
            z
              .int()
              .min(0)
              .max(2 ** 31 - 1),
          ],
          GROUP_FORM,
        ),
      )
      .max(64),
    'Further groups of the first process: names of the image, or numbers.',
  ),
  devices: said(
    z.array(askedDeviceSchema).max(64),
    'Devices of the host, /dev/x[:/dev/y][:rwm]. Asks for "containers:privileged", and a host that allows them.',
  ),
  deviceCgroupRules: said(
    z.array(ruleSchema).max(64),
    'Rules such as "c 1:3 rwm". Asks for "containers:privileged", and a host that allows privileged ones.',
  ),
  sysctls: said(sysctlsSchema, 'kernel.shm*, kernel.msg*, kernel.sem, fs.mqueue.* and net.*: of the container alone.'),
  tmpfs: said(
    tmpfsSchema,
    'Folders in memory: {"/run": "size=64m,mode=1777"}; nosuid, nodev and noexec unless it says otherwise.',
  ),
  secrets: said(
    z.array(askedSecretSchema).max(64),
    'Secrets of the store as files /run/secrets/NAME: names, or {name, file?, uid?, gid?, mode?}; mode 0444 of root, if left out.',
  ),
}
