import type { Digest } from '#shared/digest.ts'
import { commandOf } from '#shared/domain/command.ts'
import { type ContainerSpec, containerSpecSchema, type RestartPolicy } from '#shared/domain/container.ts'
import { durationMs, formatDuration } from '#shared/domain/duration.ts'
import type { ImageConfig } from '#shared/domain/image.ts'
import { type PublishedPort, parsePublishedPort } from '#shared/domain/port.ts'
import { formatImageReference, parseImageReference } from '#shared/domain/reference.ts'
import { SlipwayError } from '#shared/errors.ts'
import type { CreateContainer, UpdateContainer } from '#shared/protocol/containers.ts'
import { furtherLimits, memoryBytes } from './container-limits.ts'
import { security } from './container-security.ts'

/** What was asked for, against the image it names, as a spec. Pure. */
export function containerSpec(asked: CreateContainer, image: { digest: Digest; config: ImageConfig }): ContainerSpec {
  if (commandOf(asked, image.config.config).length === 0) {
    throw new SlipwayError('container.command-missing', `Image ${asked.image} names no command: give one as "command".`)
  }
  // With the agents' own schema: what they could not read must not become desired state.
  return containerSpecSchema.parse({
    image: formatImageReference(parseImageReference(asked.image)),
    imageDigest: image.digest,
    entrypoint: asked.entrypoint,
    command: asked.command,
    env: Array.isArray(asked.env)
      ? asked.env
      : Object.entries(asked.env ?? {}).map(([key, value]) => `${key}=${value}`),
    workdir: asked.workdir,
    user: asked.user,
    hostname: asked.hostname,
    labels: asked.labels ?? {},
    ports: publishedPorts(asked.ports ?? []),
    restart: restartPolicy(asked.restart ?? 'no'),
    resources: {
      ...{ memoryBytes: memoryBytes(asked.memory), cpus: asked.cpus, pids: asked.pidsLimit },
      ...furtherLimits(asked),
    },
    isReadOnly: asked.readOnly ?? false,
    security: security(asked),
    keepForMs: asked.keepFor === undefined ? undefined : durationMs(asked.keepFor),
  } satisfies ContainerSpec)
}

/** The spec after an update: what was asked for in place of what was there, the next revision. Ports stay. Undefined: it is that already. Pure. */
export function updatedSpec(
  current: ContainerSpec,
  asked: UpdateContainer,
  image: { digest: Digest; config: ImageConfig },
): ContainerSpec | undefined {
  const { restart, resources, isReadOnly, keepForMs, ports, imageDigest: _digest, revision = 0, ...others } = current
  const { security: confinement, ...same } = others
  const { memoryBytes: memory, cpus, pids: pidsLimit, ...further } = resources
  const before: CreateContainer = {
    ...{ ...same, restart: formatRestartPolicy(restart), readOnly: isReadOnly },
    ...{ memory, cpus, pidsLimit, ...further, ...confinement },
    keepFor: keepForMs === undefined ? undefined : formatDuration(keepForMs),
  }
  const merged = { ...withoutOtherWord(before, asked), ...asked, image: asked.image ?? current.image }
  const next = containerSpecSchema.parse({ ...containerSpec(merged, image), ports, revision })
  // Whoever is not sure that an update was heard asks again.
  const isSame = JSON.stringify(next) === JSON.stringify(containerSpecSchema.parse({ ...current, revision }))
  return isSame ? undefined : { ...next, revision: revision + 1 }
}

/** CPU time has two words: the one that an update names takes the other's place. */
function withoutOtherWord(before: CreateContainer, { cpus, cpuQuota, cpuPeriod }: UpdateContainer): CreateContainer {
  if (cpus !== undefined) return { ...before, cpuQuota: undefined, cpuPeriod: undefined }
  return cpuQuota !== undefined || cpuPeriod !== undefined ? { ...before, cpus: undefined } : before
}

function publishedPorts(texts: readonly string[]): PublishedPort[] {
  const ports = texts.map(parsePublishedPort)
  const seen = new Set<string>()
  for (const { protocol, hostPort } of ports) {
    const key = `${hostPort}/${protocol}`
    if (seen.has(key)) throw new SlipwayError('request.invalid', `Host port ${key} is published twice: name it once.`)
    seen.add(key)
  }
  return ports
}

export function restartPolicy(text: string): RestartPolicy {
  const [kind, count] = text.split(':')
  if (kind === 'on-failure') return { kind, maxRetries: count === undefined ? undefined : Number(count) }
  if (kind === 'always' || kind === 'unless-stopped') return { kind }
  return { kind: 'no' }
}

export function formatRestartPolicy(policy: RestartPolicy): string {
  if (policy.kind !== 'on-failure' || policy.maxRetries === undefined) return policy.kind
  return `on-failure:${policy.maxRetries}`
}
