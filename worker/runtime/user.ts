import { SlipwayError } from '#shared/errors.ts'

export interface ResolvedUser {
  uid: number
  gid: number
  additionalGids: number[]
  home: string
}

const NUMBER = /^\d{1,10}$/
/** Above it the kernel reads -1, "leave as it is", which would be root. */
const LAST_ID = 2 ** 31 - 1

interface PasswdEntry {
  name: string
  uid: number
  gid: number
  home: string
}

/**
 * `user`, `uid`, `user:group` or `uid:gid` against an image's /etc/passwd and /etc/group (contents; empty where the image
 * has none). A number need not be listed. Errors: `container.user-not-found`. Pure.
 */
export function resolveUser(text: string, passwd: string, group: string): ResolvedUser {
  const [name = '', groupName] = (text || '0').split(':')
  const users = parsePasswd(passwd)
  const isNumber = NUMBER.test(name)
  const entry = users.find(user => (isNumber ? user.uid === Number(name) : user.name === name))
  if (!entry && !isNumber) throw unknown('user', name, '/etc/passwd')
  const groups = parseGroup(group)
  const uid = entry?.uid ?? Number(name)
  const gid = groupName === undefined || groupName === '' ? (entry?.gid ?? 0) : groupId(groupName, groups)
  const isMember = (members: string[]) => entry !== undefined && members.includes(entry.name)
  const additionalGids = groupName ? [] : groups.filter(({ members }) => isMember(members)).map(({ id }) => id)
  if (uid > LAST_ID || gid > LAST_ID) {
    throw new SlipwayError('container.user-not-found', `User ${text} is out of range: ids go up to ${LAST_ID}.`)
  }
  return { uid, gid, additionalGids, home: entry?.home || '/' }
}

/** Groups by name or number against an image's /etc/group. Errors: `container.user-not-found`. Pure. */
export function groupIds(names: readonly string[], group: string): number[] {
  const groups = parseGroup(group)
  return names.map(name => groupId(name, groups))
}

function groupId(name: string, groups: ReturnType<typeof parseGroup>): number {
  if (NUMBER.test(name)) return Number(name)
  const found = groups.find(group => group.name === name)
  if (found) return found.id
  throw unknown('group', name, '/etc/group')
}

function unknown(kind: string, name: string, file: string): SlipwayError {
  return new SlipwayError(
    'container.user-not-found',
    `The image's ${file} has no ${kind} ${name}: add it, or use a number.`,
  )
}

const fields = (text: string) =>
  text
    .split('\n')
    .filter(line => line !== '' && !line.startsWith('#'))
    .map(line => line.split(':'))

function parsePasswd(text: string): PasswdEntry[] {
  return fields(text)
    .filter(parts => parts.length >= 6 && NUMBER.test(parts[2] ?? '') && NUMBER.test(parts[3] ?? ''))
    .map(([name = '', , uid, gid, , home = '']) => ({ name, uid: Number(uid), gid: Number(gid), home }))
}

function parseGroup(text: string): { name: string; id: number; members: string[] }[] {
  return fields(text)
    .filter(parts => parts.length >= 3 && NUMBER.test(parts[2] ?? ''))
    .map(([name = '', , id, members = '']) => ({ name, id: Number(id), members: members.split(',').filter(Boolean) }))
}
