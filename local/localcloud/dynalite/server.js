'use strict'
// Starts dynalite on loopback with its tables on disk, and refuses a share of the writes while a fault is armed.
// Arguments: --host --port --path --faults (JSON file: {"throttle_dynamodb": {"fraction": 0..1, "until": epoch seconds}}).

const crypto = require('node:crypto')
const fs = require('node:fs')
const { parseArgs } = require('node:util')
const dynalite = require('dynalite')

const string = { type: 'string' }
const { values: options } = parseArgs({ options: { host: string, port: string, path: string, faults: string } })

const WRITES = new Set(['PutItem', 'UpdateItem', 'DeleteItem', 'BatchWriteItem'])
const THROTTLED = JSON.stringify({
  __type: 'com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException',
  message: 'The level of configured provisioned throughput for the table was exceeded (fault switch).',
})

let seen = { identity: '', fault: null }

function fault () {
  const stat = fs.statSync(options.faults, { bigint: true, throwIfNoEntry: false })
  if (!stat) return null
  const identity = `${stat.ino} ${stat.mtimeNs}`
  if (identity !== seen.identity) {
    seen = { identity, fault: JSON.parse(fs.readFileSync(options.faults, 'utf8')).throttle_dynamodb || null }
  }
  return seen.fault && seen.fault.until * 1000 > Date.now() ? seen.fault : null
}

function refuses (request) {
  const operation = String(request.headers['x-amz-target'] || '').split('.')[1]
  if (!WRITES.has(operation)) return false
  const armed = fault()
  return armed !== null && Math.random() < armed.fraction
}

function refuse (request, response) {
  request.resume()
  request.on('end', () => {
    response.writeHead(400, {
      'Content-Type': 'application/x-amz-json-1.0',
      'Content-Length': Buffer.byteLength(THROTTLED),
      'x-amzn-RequestId': crypto.randomUUID(),
    })
    response.end(THROTTLED)
  })
}

const server = dynalite({ path: options.path, createTableMs: 50, deleteTableMs: 50, updateTableMs: 50 })
const [serve] = server.listeners('request')
server.removeAllListeners('request')
server.on('request', (request, response) => {
  if (options.faults && refuses(request)) refuse(request, response)
  else serve(request, response)
})

server.on('error', (error) => {
  console.error(`dynalite: ${error.message}`)
  process.exit(1)
})
for (const signal of ['SIGINT', 'SIGTERM']) {
  process.on(signal, () => {
    server.close(() => process.exit(0))
    server.closeAllConnections()
  })
}
server.listen(Number(options.port), options.host, () => console.log(`dynalite: listening on ${options.host}:${options.port}`))
