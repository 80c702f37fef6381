import type { Digest } from '#shared/digest.ts'
import { durationMs } from '#shared/domain/duration.ts'
import { matches } from '#shared/domain/repository.ts'
import type { RetentionRule } from '#shared/protocol/retention.ts'
import type { Ports } from '../ports.ts'
import {
  listRules,
  manifestsAfter,
  removeSpentTags,
  removeUntagged,
  replaceRules,
  spentTags,
  tagsAfter,
  untaggedManifests,
} from '../store/retention.ts'
import { listRepositories } from '../store/tags.ts'
import { collectBefore } from './grace.ts'

/** Names looked through for the next repository that a rule is for. */
const NAMES = 500
/** Behind every tag and every digest. */
const END = '~'

/** Within `repository` (empty: before the first one), the last tag and the last manifest that were looked at. */
export interface RetentionPosition {
  repository: string
  tag: string
  digest: string
}

export interface Retained {
  repository: string
  tags: string[]
  untagged: Digest[]
}

export const RETENTION_START: RetentionPosition = { repository: '', tag: END, digest: END }

export function retentionRules(ports: Ports): Promise<RetentionRule[]> {
  return listRules(ports.db)
}

/** Replaces all rules; they hold from the next sweep on. */
export async function setRetentionRules(ports: Ports, rules: readonly RetentionRule[]): Promise<void> {
  await replaceRules(ports.db, rules)
}

/**
 * Applies the rules to one slice, `rows` tags and manifests at most, of one repository, or (`isDry`) says what it would remove. Undefined after the last
 * repository. Costs at most seven statements.
 */
export async function retentionStep(
  ports: Ports,
  rules: readonly RetentionRule[],
  at: RetentionPosition,
  rows: number,
  isDry: boolean,
): Promise<{ next: RetentionPosition; found: Retained } | undefined> {
  const here = await positionFrom(ports, rules, at)
  if (!here) return undefined
  const { repository } = here
  const rule = ruleFor(rules, repository)
  const tags = rule ? await tagStep(ports, rule, here, rows, isDry) : { found: [], next: END }
  const untagged = rule ? await untaggedStep(ports, rule, here, rows, isDry) : { found: [], next: END }
  return {
    next: { repository, tag: tags.next, digest: untagged.next },
    found: { repository, tags: tags.found, untagged: untagged.found },
  }
}

const ruleFor = (rules: readonly RetentionRule[], repository: string) =>
  rules.find(rule => matches(rule.repositories, repository))

/** Where work goes on: in the same repository, or at the next one that a rule is for. */
async function positionFrom(
  ports: Ports,
  rules: readonly RetentionRule[],
  at: RetentionPosition,
): Promise<RetentionPosition | undefined> {
  if (rules.length === 0) return undefined
  if (at.tag !== END || at.digest !== END) return at
  const names = await listRepositories(ports.db, at.repository, NAMES)
  const name = names.find(one => ruleFor(rules, one)) ?? names.at(-1)
  if (name === undefined) return undefined
  // Without a rule it is where the next slice of names begins.
  return ruleFor(rules, name) ? { repository: name, tag: '', digest: '' } : { repository: name, tag: END, digest: END }
}

async function tagStep(ports: Ports, rule: RetentionRule, at: RetentionPosition, rows: number, isDry: boolean) {
  const { keepLast, keepTags = [] } = rule
  if (keepLast === undefined || at.tag === END) return { found: [], next: END }
  const slice = (await tagsAfter(ports.db, at.repository, at.tag, rows)).map(({ tag }) => tag)
  const others = slice.filter(tag => !keepTags.some(pattern => matches(pattern, tag)))
  const gone = isDry
    ? await spentTags(ports.db, at.repository, others, keepLast)
    : await removeSpentTags(ports.db, at.repository, others, keepLast, ports.clock.now())
  return { found: gone.map(({ tag }) => tag), next: nextOf(slice, rows) }
}

async function untaggedStep(ports: Ports, rule: RetentionRule, at: RetentionPosition, rows: number, isDry: boolean) {
  if (rule.untaggedAfter === undefined || at.digest === END) return { found: [], next: END }
  const slice = (await manifestsAfter(ports.db, at.repository, at.digest, rows)).map(({ digest }) => digest)
  const terms = {
    ...{ after: at.digest, last: slice.at(-1) ?? at.digest },
    untaggedBefore: ports.clock.now() - durationMs(rule.untaggedAfter),
    touchedBefore: collectBefore(ports),
  }
  const gone = await (isDry ? untaggedManifests : removeUntagged)(ports.db, at.repository, terms)
  return { found: gone.map(({ digest }) => digest), next: nextOf(slice, rows) }
}

const nextOf = (slice: readonly string[], rows: number) => (slice.length < rows ? END : (slice.at(-1) ?? END))
