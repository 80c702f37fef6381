import { startDocker } from '#test/support/docker-peer.ts'
import { bootWithBusybox } from '#test/support/slipway.ts'
import { openAgentSide } from './agent-side.ts'
import { busyboxTar } from './busybox-tar.ts'
import { interleave, table } from './measure.ts'

const ROUNDS = 30

/** From "run this image" to "its process runs", the image being local: our API request against `docker run -d`. */
export async function startBench(): Promise<void> {
  await using slipway = await bootWithBusybox('bench')
  await using peer = await startDocker()
  await using files = await busyboxTar()
  await peer.docker('import', files.tar, 'busybox:latest')
  await using agent = await openAgentSide(files.tar)
  const { api } = slipway
  const ids = new Map<string, string>()
  const remember = async (key: string, id: Promise<string>) => void ids.set(key, (await id).trim())
  const body = { image: 'busybox', command: ['sleep', '1000'] }

  const results = await interleave(
    [
      {
        name: 'slipway: POST /v1/containers?wait=running',
        run: round =>
          remember(
            `slipway ${round}`,
            api.call<{ id: string }>('POST', '/v1/containers?wait=running', body).then(({ id }) => id),
          ),
        undo: async round => {
          await api.call('DELETE', `/v1/containers/${ids.get(`slipway ${round}`)}?force=true&wait=removed`)
        },
      },
      {
        name: "slipway: the agent's side alone",
        run: round => remember(`agent ${round}`, agent.start()),
        undo: round => agent.remove(ids.get(`agent ${round}`) ?? ''),
      },
      {
        name: 'docker run -d',
        run: round => remember(`docker ${round}`, peer.docker('run', '-d', 'busybox', 'sleep', '1000')),
        undo: async round => {
          await peer.docker('rm', '-f', ids.get(`docker ${round}`) ?? '')
        },
      },
    ],
    ROUNDS,
  )
  console.log(table(results, 'docker run -d'))
}
